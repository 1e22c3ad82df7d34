"""Declarations that declare nothing: a jump of the learning rate that is none, a second reading of nothing, a restart
of data where none is read.

Like an idle waiver (S-07), each would hide the next fault of its kind.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isclose

from stages.check.context import Context
from stages.check.findings import Finding
from stages.check.rules import numbers
from stages.check.rules.learning_rate import handed_over
from stages.check.rules.rereads import rereads
from stages.check.rules.schedule import end_of
from stages.contract.schedule import lr, lr_before
from stages.spec.graph import reached
from stages.spec.resolved import Stage
from stages.spec.resolved_training import Schedule
from stages.spec.schema.stages import RawTrain, RawUpcycle


def idle_jumps(context: Context) -> Iterator[Finding]:
    """`jump:` of a piece at whose beginning the rate goes on, in every stage of the pipeline that reads it."""
    yield from numbers.idle_jumps(context)
    real: set[tuple[str, str]] = set()
    idle: dict[tuple[str, str], str] = {}
    for name, stage in context.pipeline.stages.items():
        for clock, reason in stage.schedule.jumps if stage.schedule is not None and stage.phases else ():
            if stage.schedule is None or not stage.phases[0].clock_start <= clock < end_of(stage):
                continue
            known = (stage.schedule.name, reason)
            if _jumps(context, stage, stage.schedule, clock):
                real.add(known)
            elif name in context.pipeline.own:
                idle.setdefault(known, name)
    for (schedule, reason), name in idle.items():
        if (schedule, reason) in real:
            continue
        pieces = context.loaded.raw.schedules[schedule]
        number = next(number for number, piece in enumerate(pieces) if piece.jump == reason)
        where = context.loaded.document.where(("schedules", schedule, number, "jump"))
        if not context.writes(where):
            continue  # of what this one extends, where it may be real
        yield context.finding(
            "S-07", name, ("schedule",), observed=f"`jump: {reason}` on a piece at which the rate goes on",
            expected="a jump where it is declared, or none declared",
            repair="Remove `jump`, or correct the piece's `from`.", found="no jump", at=(f"schedule.{number}",),
            where=where,
        )  # fmt: skip


def _jumps(context: Context, stage: Stage, schedule: Schedule, clock: int) -> bool:
    after = lr_before(schedule, clock)
    if clock == stage.phases[0].clock_start:
        return any(not isclose(rate, after, rel_tol=numbers.SAME) for rate, _ in handed_over(context, stage).values())
    return not isclose(lr(schedule, clock), after, rel_tol=numbers.SAME)


def idle_rereads(context: Context) -> Iterator[Finding]:
    """`reread:` of a stage that reads nothing again, at full size. What a released model has read is not known."""
    for name, stage in context.own if context.shrink.shrink is None else ():
        raw = context.loaded.stages[name].raw
        if not isinstance(raw, RawTrain) or raw.init.reread is None:
            continue
        if not context.writes(context.where(name, "init", "reread")):
            continue  # of what this one extends, where it may be real
        if stage.data == "continue" or not (_from_release(context, name) or rereads(context, name, stage)):
            yield context.finding(
                "S-07", name, ("init", "reread"), observed="`reread`, where nothing is read that the lineage has read",
                expected="a stretch that is read again, or no `reread`",
                repair="Remove it, or correct `init: {data: ...}` or the mixture.", found="nothing again",
            )  # fmt: skip


def idle_restarts(context: Context) -> Iterator[Finding]:
    """`data: restart` or `reread` of an upcycling: it reads nothing, and what comes after it says how it reads on."""
    for name, _ in context.own:
        raw = context.loaded.stages[name].raw
        if not isinstance(raw, RawUpcycle):
            continue
        for key, idle in (("data", raw.init.data == "restart"), ("reread", raw.init.reread is not None)):
            if idle and context.writes(context.where(name, "init", key)):
                found = "data: restart" if key == "data" else key
                yield context.finding(
                    "S-07", name, ("init", key), observed=f"`{found}` of an upcycling, which reads no data",
                    expected="data: continue, and no `reread`",
                    repair="Say it in the stage that trains on, where data are to be read from their start again.",
                    found=found,
                )  # fmt: skip


def _from_release(context: Context, name: str) -> bool:
    """Whether a module that the stage trains goes back to released weights."""
    by_ref, trained = context.by_ref, context.pipeline.stages[name].trained
    lineage = reached([context.pipeline.refs[name]], lambda one: [ref for ref in by_ref[one].parents if ref in by_ref])
    return any(
        by_ref[ref].init[one].weights == "release" for ref in lineage for one in trained if one in by_ref[ref].init
    )
