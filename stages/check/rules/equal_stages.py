"""Two stages of one pipeline that do the same work: a copy in which nothing was changed yet (I-38)."""

from __future__ import annotations

from collections.abc import Iterator

from stages.check.context import Context
from stages.check.findings import Finding
from stages.spec.key import stage_key
from stages.spec.schema.stages import RawTrain


def equal_stages(context: Context) -> Iterator[Finding]:
    """Stages that train from the same parents on the same corpora and would have one key.

    At full size, as a scale may shrink two stages to one; and of corpora as mixtures name them, as one local corpus may
    take the place of several.
    """
    if context.shrink.shrink is not None:
        return
    groups: dict[tuple[object, ...], list[str]] = {}
    for name, stage in context.pipeline.stages.items():
        if stage.kind == "train":
            mixtures = tuple(frozenset(context.mixture(name, number)) for number in range(len(stage.phases)))
            groups.setdefault((stage.parents, mixtures), []).append(name)
    for names in groups.values():
        known: dict[str, str] = {}
        for name in names if len(names) > 1 else ():
            other = known.setdefault(_work(context, name), name)
            if other != name and name in context.pipeline.own:
                where = context.pipeline.where(other, "stage")
                yield context.finding(
                    "I-38", name, ("stage",), observed=f"all that {other} does ({where})",
                    expected="stages that differ in what they compute",
                    repair="Correct what was to differ, or start from the other one.", found=other,
                )  # fmt: skip


def _work(context: Context, name: str) -> str:
    """The key of a stage next to others of the same parents, whatever the scale's seed is."""
    parents = context.pipeline.stages[name].parents
    raw = context.loaded.stages[name].raw
    own = raw.seed if isinstance(raw, RawTrain) and raw.seed is not None else -1
    return stage_key(context.pipeline.stages[name].model_copy(update={"seed": own}), dict.fromkeys(parents, "0" * 32))
