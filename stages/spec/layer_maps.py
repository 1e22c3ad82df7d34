"""Which layer of its parent each layer of a larger model is a copy of."""

from __future__ import annotations

from stages.spec import copies, routed
from stages.spec.loader import LoadedStage
from stages.spec.resolved_models import Model


def layer_map(loaded: LoadedStage, module: str, how: str, parent: Model, child: Model, full: bool) -> tuple[int, ...]:
    """Child layer -> parent layer. Raises SpecError where the child is not made of copies of the parent."""
    if how == copies.EXPERTS:
        if wrong := "; ".join(routed.misfits(parent, child)):
            raise loaded.document.error(
                ("modules", module),
                wrong,
                routed.ALLOWED,
                "Correct the model, also under the scale's `models`.",
                "I-23",
            )
        return tuple(range(getattr(child, "layers", 0)))
    if copies.is_written(how):
        return _written(loaded, how, parent, child, full)
    return _whole_stacks(loaded, how, parent, child)


def _written(loaded: LoadedStage, how: str, parent: Model, child: Model, full: bool) -> tuple[int, ...]:
    """Child layer -> parent layer, as it is written; at a scale in proportion."""
    above, below = getattr(parent, "layers", 0), getattr(child, "layers", 0)
    path = ("init", "weights")
    try:
        written = copies.read(how)
    except ValueError as error:
        raise loaded.document.error(path, str(error), copies.ALLOWED, "Write the lower one first.") from None
    if below <= above or (full and (max(written) >= above or len(written) != below)):
        raise loaded.document.error(
            path, f"{len(written)} layers, of 0 to {max(written)}, for a model of {above} becoming one of {below}",
            f"{below} layers, of 0 to {above - 1}" if below > above else "a model that is deeper than the parent's",
            "Correct the layers, or the model.", "I-23",
        )  # fmt: skip
    return copies.shrunk(written, above, below)


def _whole_stacks(loaded: LoadedStage, how: str, parent: Model, child: Model) -> tuple[int, ...]:
    """Child layer -> parent layer, each parent layer copied equally often."""
    above, below = getattr(parent, "layers", 0), getattr(child, "layers", 0)
    if not above or below % above or below <= above:
        raise loaded.document.error(
            ("init", "weights"),
            f"{above} layers becoming {below}",
            "a multiple of the parent's layers, or which layers are copied: {upcycle: 0-23 + 8-31}",
            "Correct the model, or write the layers out.",
            "I-23",
        )
    return copies.whole_stacks(how, above, below)
