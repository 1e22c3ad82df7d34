"""Which layer of its parent each layer of a larger model is a copy of.

`upcycle: experts` is sparse upcycling (arXiv 2212.05055, figure 1): all weights are the parent's, every expert of a
layer is a copy of its feed-forward part, and the routers, which the parent does not have, are drawn at random. Where
the weights of the experts that a token takes sum to 1, and nothing is added to them, the larger model computes what its
parent did.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace

from stages.spec import copies
from stages.spec.decoder import Decoder, Dense, Layer, Mixture
from stages.spec.language_model import LanguageModel
from stages.spec.loader import LoadedStage
from stages.spec.resolved_models import Model

ROUTED = (
    "a language model that is its dense parent but for the feed-forward part of every layer: two experts or more of "
    "the parent's `ffn`, whose weights are divided by their sum, times 1, beside no shared ones"
)


def layer_map(loaded: LoadedStage, module: str, how: str, parent: Model, child: Model, full: bool) -> tuple[int, ...]:
    """Child layer -> parent layer. Raises SpecError where the child is not made of copies of the parent."""
    if how == copies.EXPERTS:
        if wrong := "; ".join(misfits(parent, child)):
            raise loaded.document.error(
                ("modules", module), wrong, ROUTED, "Correct the model, also under the scale's `models`.", "I-23"
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


def misfits(parent: Model, child: Model) -> Iterator[str]:
    """In what the child is not the parent with copies of its feed-forward parts as experts, in words."""
    if not isinstance(parent, LanguageModel) or not isinstance(child, LanguageModel):
        yield f"a {child.family} from a {parent.family}"
        return
    before, after = parent.parts, child.parts
    if before.mixture is not None:
        yield f"a {parent.family} that has routed experts already"
        return
    yield from _around(before, after)
    for number, (dense, routed) in enumerate(zip(before.layers, after.layers, strict=False)):
        wrong = [*_differing(dense, routed), *_feed_forward(dense, routed)]
        if wrong:  # the first layer says it: others are alike
            yield f"in layer {number} {', '.join(wrong)}"
            return


def _around(before: Decoder, after: Decoder) -> Iterator[str]:
    if len(before.layers) != len(after.layers):
        yield f"{len(after.layers)} layers from {len(before.layers)}"
    same = replace(after, layers=before.layers)
    yield from (f"another {one.name}" for one in fields(same) if getattr(same, one.name) != getattr(before, one.name))


def _differing(dense: Layer, routed: Layer) -> Iterator[str]:
    if dense.norms != routed.norms:
        yield "other norms"
    mine, theirs = routed.attention, dense.attention
    if type(mine) is not type(theirs):
        yield "another kind of attention"
    elif mine != theirs:
        differ = [one.name for one in fields(mine) if getattr(mine, one.name) != getattr(theirs, one.name)]
        yield f"attention of another {', '.join(differ)}"


def _feed_forward(dense: Layer, routed: Layer) -> Iterator[str]:
    before, after = dense.feed_forward, routed.feed_forward
    assert isinstance(before, Dense), "a parent without routed experts"
    if not isinstance(after, Mixture):
        yield "no routed experts"
        return
    if after.experts == 1:
        yield "one expert alone"
    if after.ffn != before.ffn:
        yield f"experts of width {after.ffn:,} from a feed-forward part of {before.ffn:,}"
    if before.activation != "silu":
        yield f"experts with silu from a feed-forward part with {before.activation}"
    if not after.normalised:
        yield "experts whose weights are not divided by their sum"
    if after.scale != 1:
        yield f"experts whose weights sum to {after.scale:g}"
    if after.shared:
        yield f"{after.shared} shared experts"
