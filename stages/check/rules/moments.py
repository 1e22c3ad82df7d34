"""Optimizer state where the rate goes on: I-39."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from stages.check.context import Context
from stages.check.findings import Finding
from stages.check.registry import static
from stages.check.rules.optimizer import trainer
from stages.check.rules.peaks import trained_at
from stages.contract.schedule import lr_before, piece_from
from stages.spec.resolved import Stage
from stages.spec.resolved_training import Optimizer, Schedule

NEAR = Fraction(2, 3)  # of the highest rate: after a decay, fresh moments do little harm
# What may change in the middle: it moves no moment. A decay that changes is a notice (stages/check/notices/batches.py).
FREE = frozenset({"name", "clip", "groups", "skip", "ema", "weight_decay"})


@static(
    "I-39",
    title="A running clock keeps its optimizer",
    rule="Where the clock continues, or a schedule begins at the rate that the parent ended with (`from: current`) and "
    "that is two thirds of the highest or more, a module that the lineage has trained inherits its optimizer's state, "
    "unless the rate warms up from there. Where the clock continues, betas, eps, what is decayed and Muon's figures "
    "stay.",
    why="Fresh moments meet the full learning rate: the first updates have the size of the rate whatever the gradient, "
    "and undo part of what the weights had reached.",
    threads=("facebookresearch/schedule_free#39", "EvolvingLMMs-Lab/OneVision-Encoder#65"),
)
def running_clock_keeps_moments(context: Context) -> Iterator[Finding]:
    """I-39."""
    for name, stage in context.own:
        if not stage.phases or stage.schedule is None:
            continue
        start = stage.phases[0].clock_start
        first = piece_from(stage.schedule, start)
        if first is not None and first.last <= first.first:  # no gap, which I-05 names, and no warm-up
            yield from _dropped(context, name, stage, start)
        if stage.clock == "continue":
            yield from _changed(context, name, stage)


def _dropped(context: Context, name: str, stage: Stage, start: int) -> Iterator[Finding]:
    """Fresh moments of modules that have learned at the rate that goes on."""
    assert stage.schedule is not None
    goes_on = stage.clock == "continue"
    fresh = [module for module in stage.trained if (_reset if goes_on else _left)(context, name, stage, module)]
    if fresh:
        how = "on the clock of" if goes_on else "where it begins at the parent's, by"
        yield context.finding(
            "I-39", name, ("init", "optimizer"),
            observed=f"{', '.join(fresh)}: optimizer reset at a rate of {lr_before(stage.schedule, start):g} "
            f"{how} schedule {stage.schedule.name!r}, which goes on without a warm-up",
            expected="the parent's optimizer state, or a rate that rises from there",
            repair="Write `optimizer: inherit`, or "
            + ("`clock: reset` with a schedule that warms up." if goes_on else "let the schedule warm up."),
            at=fresh, found=context.full_rate(lr_before(stage.schedule, start)),
        )  # fmt: skip


def _dropping(stage: Stage, module: str) -> bool:
    init = stage.init.get(module)
    return init is not None and init.weights == "inherit" and init.optimizer == "reset"


def _reset(context: Context, name: str, stage: Stage, module: str) -> bool:
    """Whether a module's state is dropped although the stage whose clock goes on has trained the module."""
    above = context.taught_by(stage, module)
    extent = context.pipeline.extents.get(name)
    return _dropping(stage, module) and above is not None and extent is not None and above[1].name == extent.after


def _left(context: Context, name: str, stage: Stage, module: str) -> bool:
    """Whether a module's state is dropped that a parent has for it, where `from: current` takes the rate as it was.

    Averages of weights have moments of other weights, and what a merge or new experts come with has none. A linear
    piece with others after it comes from a rate to another one, as warm-ups do, be it a lower one.
    """
    extent = context.pipeline.extents.get(name)
    pieces = context.loaded.raw.schedules[extent.schedule] if extent is not None else []
    warms_up = len(pieces) > 1 and pieces[0].shape == "linear"
    init = stage.init.get(module)
    goes_on = bool(pieces) and pieces[0].starts == "current" and not warms_up
    if not goes_on or not _dropping(stage, module) or init is None or init.average or init.parent is None:
        return False
    its = state_of(context, init.parent, module)
    if its is None or stage.optimizer is None or its.kind != stage.optimizer.kind or extent is None:
        return False
    return extent.laid[0].first >= NEAR * trained_at(context, stage, module)[0]


def state_of(context: Context, parent: str, module: str) -> Optimizer | None:
    """The optimizer whose state a parent hands on for a module."""
    if parent not in context.by_ref:
        return None
    _, source = trainer(context, parent, module)
    return source.optimizer if module in source.trained and source.kind != "import" else None


def _changed(context: Context, name: str, stage: Stage) -> Iterator[Finding]:
    """Figures of the optimizer that are others than the state which goes on was made with."""
    new = stage.optimizer
    for module, init in stage.init.items():
        if new is None or init.optimizer != "inherit" or init.parent is None or module not in stage.trained:
            continue
        old = state_of(context, init.parent, module)
        if old is None or old.kind != new.kind:
            continue  # I-15
        for key in type(new).model_fields:
            was, now = getattr(old, key), getattr(new, key)
            if key not in FREE and was != now and not isinstance(was, Schedule) and not isinstance(now, Schedule):
                yield context.finding(
                    "I-39", name, ("optimizer",),
                    observed=f"{key} {_text(now)} after {_text(was)}, on the clock of a schedule that goes on",
                    expected="the figures that the state was made with",
                    repair="Name the parent's optimizer, give the number a schedule, or waive this with its reason.",
                    at=(f"optimizer.{key}",), found=f"{_text(was)} -> {_text(now)}",
                )  # fmt: skip
        return  # the optimizer is one for all modules


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
