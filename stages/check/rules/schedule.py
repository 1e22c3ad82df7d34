"""A schedule and the stage that reads it: I-03, I-05."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise

from pydantic import BaseModel

from stages.check.context import Context
from stages.check.findings import Finding
from stages.check.registry import static
from stages.check.rules import numbers
from stages.check.rules.horizon import unread_schedules
from stages.contract import ledger
from stages.contract.schedule import lr
from stages.spec.nodes import Path
from stages.spec.resolved import Stage
from stages.spec.resolved_models import Llama3Scaling, Rope, Yarn
from stages.spec.resolved_phases import BatchStep, Coca, Loops, Phase, Router, ShareRamp
from stages.spec.resolved_training import AdamW, Group, Muon, Piece, Schedule, Skip

# What a schedule, an optimizer and the counting of tokens are made of: no field of these may be guessed.
NUMERIC: tuple[type[BaseModel], ...] = (
    Piece, Schedule, AdamW, Muon, Group, Skip, BatchStep, Phase, ShareRamp, Rope, Llama3Scaling, Yarn, Router, Loops,
    Coca,
)  # fmt: skip


def end_of(stage: Stage) -> int:
    """The clock at which a stage with phases ends."""
    return stage.phases[-1].clock_end


def pieces_of(stage: Stage) -> tuple[Piece, ...]:
    """The pieces of the schedule that the stage itself runs through."""
    if stage.schedule is None or not stage.phases:
        return ()
    return tuple(piece for piece in stage.schedule.pieces if piece.end > stage.phases[0].clock_start)


def scheduled(context: Context) -> Iterator[tuple[str, Stage, Schedule]]:
    """Own stages that train, with their schedules."""
    for name, stage in context.own:
        if stage.phases and stage.schedule is not None and stage.schedule.pieces:
            yield name, stage, stage.schedule


@static(
    "I-03",
    title="A schedule is read to its end, and ends with the stage",
    rule="Every lineage ends where the schedule that it reads ends: no piece but a constant one is left unfinished, "
    "and none is never read (a last piece that is constant may be cut). No decay sits at its floor before the stage "
    "ends, and only the last step may have a rate of zero. Schedules of other numbers are read to their end too.",
    why="A horizon copied from another run, or a budget changed under it, cuts a decay in its middle: the model is "
    "released at a rate that was meant to fall further. A resume computes zero remaining steps, or subtracts the "
    "warm-up twice, and the rest of the run trains at the minimum without anyone noticing.",
    threads=(
        "huggingface/nanotron#233", "huggingface/nanotron#243", "huggingface/nanotron#420", "huggingface/nanotron#423",
        "areal-project/AReaL#1289",
    ),
)  # fmt: skip
def decay_ends_with_the_stage(context: Context) -> Iterator[Finding]:
    """I-03."""
    yield from unread_schedules(context)
    yield from numbers.unread(context)
    for name, stage, schedule in scheduled(context):
        end = end_of(stage)
        if schedule.pieces[-1].end != end:
            yield context.finding(
                "I-03", name, ("schedule",),
                observed=f"schedule {schedule.name!r} ends at {schedule.pieces[-1].end:,}",
                expected=f"the stage's end at {end:,}",
                repair="Let the pieces' lengths add up to the budgets of the stages that read the schedule.",
            )  # fmt: skip
            continue
        yield from _at_zero(context, name, stage, schedule)
        yield from _at_the_floor(context, name, stage)


def _at_zero(context: Context, name: str, stage: Stage, schedule: Schedule) -> Iterator[Finding]:
    """Rates are compared where steps end: at the first step, and at every border of pieces but the last."""
    first = stage.phases[0].clock_start + ledger.step_at(stage.phases[0], 0).end
    clocks = {min(first, end_of(stage))} | {piece.end for piece in pieces_of(stage)}
    for clock in sorted(clocks - {end_of(stage)}):
        if clock >= schedule.pieces[0].start and lr(schedule, clock) <= 0:
            yield context.finding(
                "I-03", name, ("schedule",),
                observed=f"a learning rate of 0 at {clock:,}, {end_of(stage) - clock:,} before the stage's end",
                expected="a rate above 0 at every step but the last",
                repair="Let the decay end at the stage's end, or at a floor above 0.",
                found=Fraction(end_of(stage) - clock, end_of(stage) - stage.phases[0].clock_start),
            )  # fmt: skip
            return


def _at_the_floor(context: Context, name: str, stage: Stage) -> Iterator[Finding]:
    """Where a later piece goes lower, as for DeepSeek-V3's last 167B tokens, the rate was no floor but a step.

    So too where a later stage reads that piece.
    """
    pieces = pieces_of(stage)
    extent = context.pipeline.extents.get(name)
    unread = [piece.to for piece in extent.left if piece.to is not None] if extent is not None else []
    for number, (piece, after) in enumerate(pairwise(pieces)):
        decayed = piece.last < piece.first and piece.p1[0] == piece.p1[1]
        lower = any(min(one.first, one.last) < after.first for one in pieces[number + 2 :])
        lower = lower or any(to < context.full_rate(after.first) for to in unread)
        if decayed and after.shape == "constant" and after.first <= piece.last and not lower:
            yield context.finding(
                "I-03", name, ("schedule",),
                observed=f"the rate stays at {after.first:g} from {piece.end:,} to {after.end:,}",
                expected=f"a decay that ends at the stage's end, {end_of(stage):,}",
                repair="Lengthen the decay, or waive this with the reason for training on at the floor.",
                found=Fraction(after.end - piece.end, end_of(stage) - stage.phases[0].clock_start),
            )  # fmt: skip


@static(
    "I-05",
    title="Nothing of a schedule comes from a default",
    rule="The pieces of a schedule cover every step of the stage without gap or overlap, and no field that changes "
    "numerics has a default.",
    why="A placeholder of 1,000 iterations became the length of a decay: training went on at the floor for the rest.",
    threads=("NVIDIA-NeMo/RL#939",),
    held_by=("stages/spec/schedule_layout.py", "tests/unit/check/test_run.py"),
)
def every_piece_is_stated(context: Context) -> Iterator[Finding]:
    """I-05."""
    for field in defaulted(NUMERIC):
        yield context.finding(
            "I-05", context.pipeline.own[0], (),
            observed=f"a default for {field}", expected="fields without defaults", repair="Make the field required.",
        )  # fmt: skip
    for name, _, reading, schedule in context.curves:
        yield from _uncovered(context, name, reading.key, schedule, (reading.name,))
    for name, _, schedule in scheduled(context):
        yield from _uncovered(context, name, ("schedule",), schedule)


def _uncovered(
    context: Context, name: str, key: Path, schedule: Schedule, at: tuple[str, ...] = ()
) -> Iterator[Finding]:
    """The first piece that does not begin where the one before ends."""
    clock = 0
    for number, piece in enumerate(schedule.pieces):
        if piece.start != clock or piece.end <= piece.start:
            yield context.finding(
                "I-05", name, key,
                observed=f"piece {number} of {schedule.name!r} covers ({piece.start:,}, {piece.end:,}]",
                expected=f"a piece that begins at {clock:,}, where the one before ends",
                repair="State every stretch of the clock once.", at=at,
            )  # fmt: skip
            return
        clock = piece.end


def defaulted(classes: Sequence[type[BaseModel]]) -> list[str]:
    """Fields of resolved values that have a default although they change numerics: "Class.field".

    One that came later is None where a spec says nothing of it, and then changes nothing.
    """
    return [
        f"{cls.__name__}.{name}"
        for cls in classes
        for name, field in cls.model_fields.items()
        if not field.is_required()
        and name not in getattr(cls, "DESCRIPTIVE_FIELDS", frozenset())
        and not (field.default is None and name in getattr(cls, "LATER_FIELDS", frozenset()))
    ]
