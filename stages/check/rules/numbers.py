"""Numbers besides the learning rate that a schedule gives: what I-03, I-04, I-28, I-36 and S-07 say of theirs.

A stated number is a choice of its stage, as it always was. It is compared with what its parent's schedule came to only
where the clock goes on: there a constant in the place of a curve cuts the curve off.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from math import isclose

from stages.check.context import Context
from stages.check.findings import Finding
from stages.check.rules.horizon import complete, place
from stages.check.rules.points import within_a_step
from stages.check.rules.unused import names_of
from stages.contract.numbers import Reading, readings
from stages.contract.schedule import lr, lr_before
from stages.spec.clocks import Extent
from stages.spec.numbers import last_numbers
from stages.spec.resolved import Stage
from stages.spec.resolved_training import Schedule
from stages.spec.schedule_layout import step_end

Z_LOSS = "z_loss"  # the one of these numbers that a phase may do without
SAME = 1e-12  # relative: values are exact in the specs; one taken over from a curve's middle is rounded once


def unread(context: Context) -> Iterator[Finding]:
    """I-03: a lineage ends where the schedule of each of its numbers ends; a last constant piece may be cut."""
    for name, _, reading, schedule in context.curves:
        if schedule.pieces[-1].end != reading.end:
            yield context.finding(
                "I-03", name, reading.key,
                observed=f"schedule {schedule.name!r} of {reading.name} ends at {schedule.pieces[-1].end:,}",
                expected=f"the end at {reading.end:,}", at=(reading.name,),
                repair="Let the pieces' lengths add up to the budgets of the stages that read the schedule.",
            )  # fmt: skip
    goes_on: set[tuple[str | None, tuple[str, str]]] = {
        (extent.after, read) for one in context.pipeline.numbers.values() for read, extent in one.items()
    }
    for name in context.pipeline.own:
        for (number, given_by), extent in context.pipeline.numbers.get(name, {}).items():
            if (name, (number, given_by)) in goes_on or complete(extent):
                continue
            last, unit = extent.laid[-1], extent.spans[-1].phase.unit
            yield context.finding(
                "I-03", name, ("schedule",),
                observed=f"{number} ends at {extent.end:,} {unit} of schedule {given_by!r}, at "
                f"{float(extent.value):g}",
                expected=f"its end, {len(extent.left)} pieces and {max(0, last.end - extent.end):,} {unit} further",
                repair=f"Correct the pieces ({place(context, given_by, len(extent.laid) - 1)}) or the budgets so that "
                "they end together.",
                at=(number,), found=f"{given_by} left at {extent.end}",
            )  # fmt: skip


def moved(context: Context) -> Iterator[Finding]:
    """I-04: on a clock that goes on, what lies behind is what the parent read."""
    for name, stage, reading, schedule in context.curves:
        if stage.clock != "continue" or reading.start != stage.phases[0].clock_start:
            continue
        for ref, parent in context.trained_parents(stage):
            theirs = [one for one in readings(parent) if one.name == reading.name and one.end == reading.start]
            known = theirs[-1].number if theirs else None
            past = tuple(piece for piece in schedule.pieces if piece.start < reading.start)
            if isinstance(known, Schedule) and known.pieces != past:
                yield context.finding(
                    "I-04", name, reading.key, parent=ref,
                    observed=f"schedule {schedule.name!r} of {reading.name} differs from the parent's {known.name!r}",
                    expected=f"the same pieces up to {reading.start:,}", at=(reading.name,),
                    repair="Read the parent's schedule on, or write `clock: reset`.", found=schedule.name,
                )  # fmt: skip


def jumps(context: Context) -> Iterator[Finding]:
    """I-28: continuous inside a stage, and over every hand-over where a schedule gives a number on either side."""
    for name, stage in context.own:
        own, handed = _with_absent(stage), _handed(context, stage)
        for reading in own:
            yield from _inside(context, name, reading)
            first = reading.start == stage.phases[0].clock_start
            over = first and (stage.clock == "continue" or isinstance(reading.number, Schedule))
            for ref, before in _before(own, handed, reading):
                if ref is None or over:
                    yield from _step(context, name, reading, before, ref)


def step_beyond(extent: Extent, number: int) -> int | None:
    """The end of the step, at full size, that a piece both begins and ends in; None where a step ends in the piece."""
    piece = extent.laid[number]
    end, _ = step_end(extent.spans, piece.start, 1)
    return end if piece.end < min(end, extent.end) else None


def inert(context: Context) -> Iterator[Finding]:
    """I-36: a step ends in every piece, and what is not constant changes the number."""
    for name in context.pipeline.own if context.shrink.shrink is None else ():
        for (number, schedule), extent in context.pipeline.numbers.get(name, {}).items():
            for index, piece in enumerate(extent.laid):
                flat = piece.shape != "constant" and piece.first == piece.last
                if piece.start < extent.start or not (flat or step_beyond(extent, index)):
                    continue
                yield Finding(
                    "I-36", context.pipeline.scale, context.pipeline.refs[name], None,
                    f"{piece.described}, of {number}" + ("" if flat else ", in which no step ends"),
                    "pieces that change the number, with at least one step in each",
                    "Correct `to` or the length; a length in optimizer steps is written `for: 2000 steps`.",
                    place(context, schedule, index), at=(f"schedule.{schedule}.{index}",), found=piece.described,
                )  # fmt: skip


def borrowed(context: Context) -> Iterator[Finding]:
    """I-36: a schedule that gives a learning rate gives no other number."""
    rates = {entry for stage in context.loaded.stages.values() for entry in names_of(stage, "schedules")}
    for name, _, reading, schedule in context.curves:
        if schedule.name in rates:
            yield context.finding(
                "I-36", name, reading.key,
                observed=f"{reading.name} by schedule {schedule.name!r}, which gives a learning rate",
                expected="a schedule of its own", at=(reading.name,), found=schedule.name,
                repair="Name the schedule that is meant, or write one: a scale's factor is for learning rates alone.",
            )  # fmt: skip


def idle_jumps(context: Context) -> Iterator[Finding]:
    """S-07: a declared jump of a number is one."""
    for name, stage, reading, schedule in context.curves:
        for clock, reason in schedule.jumps:
            if not reading.start <= clock < reading.end:
                continue
            after = lr_before(schedule, clock)
            inside = clock > reading.start
            above = [] if inside else _before(_with_absent(stage), _handed(context, stage), reading)
            before = [lr(schedule, clock)] if inside else [one.last for _, one in above]
            if before and all(isclose(one, after, rel_tol=SAME) for one in before):
                yield context.finding(
                    "S-07", name, reading.key, observed=f"`jump: {reason}` where {reading.name} goes on",
                    expected="a jump where it is declared, or none declared", found="no jump",
                    repair="Remove `jump`, or correct the piece's `from`.", at=(reading.name,),
                )  # fmt: skip


def _before(
    own: Sequence[Reading], handed: Mapping[str, Mapping[str, Reading]], reading: Reading
) -> list[tuple[str | None, Reading]]:
    """What a number is read from before `reading`: in the stage itself (None), else in its parents, by their refs.

    Nothing where it comes in with a later phase: what the parents had is not what the phase before it had.
    """
    inside = [one for one in own if one.name == reading.name and one.end == reading.start]
    if inside:
        return [(None, inside[-1])]
    if reading.start > min(one.start for one in own):
        return []
    return [(ref, theirs[reading.name]) for ref, theirs in handed.items() if reading.name in theirs]


def _handed(context: Context, stage: Stage) -> dict[str, dict[str, Reading]]:
    """What trained parents of inherited modules end with: by their refs, the last reading of each number."""
    found: dict[str, dict[str, Reading]] = {}
    for module in stage.trained:
        init = stage.init.get(module)
        above = context.taught_by(stage, module) if init is not None and init.weights == "inherit" else None
        if above is None or above[0] in found or above[1].kind == "import":
            continue
        theirs = _with_absent(above[1]) if stage.clock == "continue" else readings(above[1])
        found[above[0]] = {one.name: one for one in theirs}
    return found


def _with_absent(stage: Stage) -> list[Reading]:
    """Readings, with 0 for the z-loss of phases that state none: no loss is a loss of weight 0."""
    known = readings(stage)
    without = [
        Reading(Z_LOSS, ("phases", number), phase.clock_start, phase.clock_end, 0.0)
        for number, phase in enumerate(stage.phases if stage.optimizer is not None else ())
        if phase.z_loss is None
    ]
    return sorted([*known, *without], key=lambda one: one.start)


def _inside(context: Context, name: str, reading: Reading) -> Iterator[Finding]:
    if not isinstance(reading.number, Schedule):
        return
    declared = {clock for clock, _ in reading.number.jumps}
    for piece in reading.number.pieces:
        if reading.start < piece.end < reading.end and piece.end not in declared:
            before, after = lr(reading.number, piece.end), lr_before(reading.number, piece.end)
            if not isclose(before, after, rel_tol=SAME):
                yield _jump(context, name, reading, piece.end, before, after, None)


def _step(context: Context, name: str, reading: Reading, before: Reading, parent: str | None) -> Iterator[Finding]:
    """Over the border at which a reading begins."""
    if not any(isinstance(one.number, Schedule) for one in (reading, before)):
        return
    declared = reading.number.jumps if isinstance(reading.number, Schedule) else ()
    stated = any(clock == reading.start for clock, _ in declared)
    stated = stated or within_a_step(
        context, parent, reading.first, lambda trunk: dict(last_numbers(trunk)).get(reading.name)
    )
    if not stated and not isclose(before.last, reading.first, rel_tol=SAME):
        yield _jump(context, name, reading, reading.start, before.last, reading.first, parent)


def _jump(
    context: Context, name: str, reading: Reading, clock: int, before: float, after: float, parent: str | None
) -> Finding:
    return context.finding(
        "I-28", name, reading.key, parent=parent,
        observed=f"{reading.name} jumps from {before:g} to {after:g} at {clock:,}",
        expected="a continuous number, or a declared jump",
        repair="Write `from: current` on the schedule's first piece, or `jump: <reason>` on the one that jumps.",
        at=(reading.name,), found=(Fraction(before), Fraction(after)),
    )  # fmt: skip
