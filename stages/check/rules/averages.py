"""Averages of weights next to the number of steps that they are kept over: a part of I-48."""

from __future__ import annotations

from collections.abc import Iterator

from stages.check.context import Context
from stages.check.findings import Finding
from stages.contract import ledger
from stages.spec.resolved import Stage

MOST_BEGINNING = 0.5  # of the weights that it began with, at the stage's end


def as_it_began(context: Context) -> Iterator[Finding]:
    """Averages of weights that reach back further than their lineage is long, where something takes them.

    An optimizer that keeps one may serve a short stage too, whose last weights are what goes on.
    """
    taken = _taken(context)
    for name, stage in context.own:
        ema = stage.optimizer.ema if stage.optimizer is not None else None
        steps = _averaged(context, stage)
        if isinstance(ema, float) and context.pipeline.refs[name] in taken and ema**steps > MOST_BEGINNING:
            yield context.finding(
                "I-48", name, ("optimizer",),
                observed=f"an average that ends with {ema**steps:.0%} of the weights that it began with: ema {ema:g} "
                f"over {steps:,} steps",
                expected=f"at most {MOST_BEGINNING:.0%}",
                repair="Correct `ema`: 1 / (1 - ema) is about the number of steps that it averages.",
                at=("ema",), found=f"{ema:g}",
            )  # fmt: skip


def _taken(context: Context) -> set[str]:
    """The stages that train whose average another stage or an export begins with, through those that hand it on."""
    left = [init.parent for stage in context.pipeline.stages.values() for init in stage.init.values() if init.average]
    found: set[str] = set()
    while left:
        stage = context.by_ref.get(ref := left.pop() or "")
        if stage is not None and stage.kind == "train":
            found.add(stage.trunk or ref)
        elif stage is not None:
            left += [init.parent for init in stage.init.values()]
    return found


def _averaged(context: Context, stage: Stage) -> int:
    """The steps over which a stage's average runs: those of parents too whose average it goes on with."""
    steps = sum(ledger.count(phase) for phase in stage.phases)
    module = next(iter(stage.trained), None)
    init = stage.init.get(module) if module is not None else None
    above = context.by_ref.get(init.parent) if init is not None and init.parent is not None else None
    if above is None or init is None or init.optimizer != "inherit":
        return steps
    return steps + (_averaged(context, above) if above.optimizer is None or above.optimizer.ema is not None else 0)
