"""Fine-tuning that starts before pre-training has ended: the part of I-38 that looks past what hands on."""

from __future__ import annotations

from collections.abc import Iterator

from stages.check.context import Context
from stages.check.findings import Finding
from stages.spec.graph import reached
from stages.spec.resolved import Stage


def early_fine_tuning(context: Context) -> Iterator[Finding]:
    """A finding (I-38) where fine-tuning starts from a stage whose schedule goes on to an export, without fine-tuning.

    Fine-tuning of an early checkpoint next to that of the last one is a comparison, and none.
    """
    for name, stage in context.own:
        if not _fine_tunes(stage):
            continue
        for ref, parent in context.trained_parents(stage):
            for later in _goes_on(context, stage, ref, parent):
                below = _descendants(context, later)
                exports = [one for one in below if context.by_ref[one].kind == "export"]
                if exports and not any(_fine_tunes(context.by_ref[one]) for one in below):
                    yield context.finding(
                        "I-38", name, ("init", "from"), parent=ref,
                        observed=f"fine-tuning from {ref}, from which {later} goes on to {exports[0]}; "
                        "no fine-tuning starts from there",
                        expected="fine-tuning of the model as its training left it",
                        repair=f"Name {exports[0].rpartition('/')[2]} in `from`, or fine-tune both.",
                        found=f"without {later.rpartition('/')[2]}",
                    )  # fmt: skip


def _fine_tunes(stage: Stage) -> bool:
    return any(phase.answers_alone for phase in stage.phases)


def _goes_on(context: Context, stage: Stage, ref: str, parent: Stage) -> list[str]:
    """The stages that go on from a parent on its clock, with a model that the stage trains too."""
    shared = [module for module in stage.trained if stage.modules.get(module) == parent.modules.get(module)]
    return [
        other
        for other, one in context.by_ref.items()
        if one.clock == "continue" and not _fine_tunes(one) and one.name != stage.name
        and ref in dict(context.trained_parents(one)) and one.phases
        and any(one.modules.get(module) == stage.modules[module] for module in shared)
    ]  # fmt: skip


def _descendants(context: Context, ref: str) -> list[str]:
    """A stage and all that start from it, nearest first."""
    return reached([ref], lambda one: [name for name, stage in context.by_ref.items() if one in stage.parents])
