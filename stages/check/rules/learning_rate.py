"""The learning rate over steps and hand-overs: I-01, I-02, I-04, I-28."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isclose

from stages.check.context import Context
from stages.check.findings import Finding
from stages.check.registry import held_by_code, static
from stages.check.rules import numbers
from stages.check.rules.horizon import complete
from stages.check.rules.points import within_a_step
from stages.check.rules.schedule import end_of, pieces_of, scheduled
from stages.contract.schedule import lr, lr_before
from stages.spec import shapes
from stages.spec.resolved import Stage
from stages.spec.resolved_training import Schedule

held_by_code(
    "I-01",
    "guard",
    title="The child's first learning rate is the spec's",
    rule="The rate of every parameter group at a stage's first step is what the spec's schedule says there; so is "
    "every other number of the optimizer that a schedule gives.",
    why="Restored scheduler state and command-line overrides get mixed: an old peak with a new decay, or the reverse.",
    threads=(
        "NVIDIA/Megatron-LM#1138", "NVIDIA/Megatron-LM#1284", "NVIDIA/Megatron-LM#5213", "NVIDIA/Megatron-LM#7173",
    ),
    held_by=("stages/train/loop.py", "tests/unit/train/test_engine.py", "stages/guards/start.py"),
)  # fmt: skip
held_by_code(
    "I-02",
    "test",
    title="The rate is a pure function of consumed tokens",
    rule="The learning rate, and every other number that a schedule gives, depends on the token count alone, so that "
    "loading twice, or never, changes nothing.",
    why="A scheduler that counts its own steps is stepped twice after a load, or starts from zero.",
    threads=("THUDM/slime#1547", "radixark/miles#1627", "NVIDIA/Megatron-LM#1533"),
    held_by=(
        "stages/contract/schedule.py",
        "tests/property/test_schedule.py",
        "stages/guards/start.py",
        "stages/guards/end.py",
    ),
)


@static(
    "I-04",
    title="A running clock keeps its curve",
    rule="Where a clock continues, the part of the schedule that lies behind is the one that the parent read, and the "
    "child begins where the parent ended. A schedule is read again only after its "
    "end, and left for another one at the end of a piece or in a constant one. Other numbers that a schedule gives "
    "keep their past too.",
    why="Lengthening a run or naming another peak moves the curve under a clock that already counts: the rate jumps, "
    "or the new rate is ignored.",
    threads=(
        "mlfoundations/open_clip#413", "pytorch#60265", "hiyouga/LlamaFactory#4595",
        "hiyouga/LlamaFactory#5755",
    ),
)  # fmt: skip
def running_clock_keeps_its_curve(context: Context) -> Iterator[Finding]:
    """I-04."""
    yield from numbers.moved(context)
    for name, stage, schedule in scheduled(context):
        start = stage.phases[0].clock_start
        if stage.clock == "reset":
            if start != 0:
                yield context.finding(
                    "I-04", name, ("init", "clock"),
                    observed=f"a clock that is reset and begins at {start:,}",
                    expected="0 after a reset",
                    repair="Write `clock: continue`, or let the clock begin at 0.",
                )  # fmt: skip
            yield from _left_early(context, name, stage)
            continue
        same = [(ref, one) for ref, one in context.trained_parents(stage) if _reads(one, schedule.name)]
        if len(same) != 1:
            yield context.finding(
                "I-04", name, ("init", "clock"),
                observed=f"a continued clock after {len(same)} parents that read schedule {schedule.name!r}",
                expected="exactly one",
                repair="Name the parent's schedule, or reset the clock and declare the jump.",
            )  # fmt: skip
            continue
        yield from _same_past(context, name, start, schedule, *same[0])


def _left_early(context: Context, name: str, stage: Stage) -> Iterator[Finding]:
    """A reset under the curve that a parent was in the middle of, be it to read the same one or another."""
    continued = {extent.after for extent in context.pipeline.extents.values()}
    for ref, above in sorted({taught for module in stage.trained if (taught := _taught(context, stage, module))}):
        extent = context.pipeline.extents[above]
        again = stage.schedule is not None and stage.schedule.name == extent.schedule and not complete(extent)
        last = extent.laid[-1]
        inside = last.shape != "constant" and last.end > extent.end and above in continued  # else I-03 names it there
        if again or inside:
            where = "of which" if again else f"inside {shapes.named(last.shape)} of which"
            yield context.finding(
                "I-04", name, ("init", "clock"), parent=ref,
                observed=f"a clock that is reset under schedule {extent.schedule!r}, {where} {ref} has read "
                f"{extent.end:,} {extent.spans[-1].phase.unit} and not the rest",
                expected="a schedule left at its end, or between two pieces for another one",
                repair="Write `clock: continue`, or start from a stage that has read the piece to its end.",
                found=f"{extent.schedule} left at {extent.end}",
            )  # fmt: skip


def _taught(context: Context, stage: Stage, module: str) -> tuple[str, str] | None:
    """(ref, name) of the stage that trained a module before, where it has read a schedule."""
    above = context.taught_by(stage, module)
    return (above[0], above[1].name) if above is not None and above[1].name in context.pipeline.extents else None


def _reads(stage: Stage, schedule: str) -> bool:
    return bool(stage.phases) and stage.schedule is not None and stage.schedule.name == schedule


def _same_past(
    context: Context, name: str, start: int, schedule: Schedule, ref: str, parent: Stage
) -> Iterator[Finding]:
    if end_of(parent) != start:
        yield context.finding(
            "I-04", name, ("init", "clock"), parent=ref,
            observed=f"a clock that goes on at {start:,}",
            expected=f"{end_of(parent):,}, where {ref} ended",
            repair="Let the stage continue the clock of the parent that it names.",
        )  # fmt: skip
    theirs = parent.schedule.pieces if parent.schedule is not None else ()
    mine = tuple(piece for piece in schedule.pieces if piece.start < start)
    if mine != theirs:
        at = next((a.start for a, b in zip(mine, theirs, strict=False) if a != b), start)
        yield context.finding(
            "I-04", name, ("schedule",), parent=ref,
            observed=f"schedule {schedule.name!r} differs from the parent's, from {at:,} on",
            expected=f"the same pieces up to {start:,}",
            repair="Give the changed horizon a schedule of its own with `clock: reset`; a jump needs `jump: <reason>`.",
        )  # fmt: skip


@static(
    "I-28",
    title="The learning rate is continuous",
    rule="The rate is continuous inside a stage and over every hand-over; a jump is declared with its reason. "
    "What a schedule declares excuses the lineage that it goes on from, that of the first trained module; modules of "
    "another parent are waived by their names. Other numbers that a schedule gives are continuous likewise.",
    why="A re-warm-up from zero, or a schedule that starts where the parent did not end, undoes what the parent "
    "reached; the loss shows it late or not at all.",
    threads=("NVIDIA/Megatron-LM#1138", "NVIDIA/Megatron-LM#1533"),
    held_by=("stages/spec/schedule_layout.py",),
)
def rate_is_continuous(context: Context) -> Iterator[Finding]:
    """I-28."""
    yield from numbers.jumps(context)
    for name, stage, schedule in scheduled(context):
        declared = {clock for clock, _ in schedule.jumps}
        start = stage.phases[0].clock_start
        handed = handed_over(context, stage)
        lineage = next((rate for rate, _ in handed.values()), None)  # that the schedule goes on from, or jumps from
        for ref, (rate, modules) in handed.items():
            if start not in declared or lineage is None or not isclose(rate, lineage, rel_tol=numbers.SAME):
                yield from _step(context, name, schedule, start, rate, ref, modules)
        for piece in pieces_of(stage)[:-1]:
            if piece.end > start and piece.end not in declared:
                yield from _step(context, name, schedule, piece.end, lr(schedule, piece.end))


def handed_over(context: Context, stage: Stage) -> dict[str, tuple[float, list[str]]]:
    """The parents of the trained modules that inherit: the rate at which each ended, and those modules.

    A released model and its stand-in have no rate to be continuous with.
    """
    rates: dict[str, tuple[float, list[str]]] = {}
    for module in stage.trained:
        init = stage.init.get(module)
        if init is None or init.weights != "inherit" or init.parent not in context.by_ref:
            continue
        ref, parent = context.trained_above(init.parent)
        if (last := _ended(context, parent)) is not None:
            rates.setdefault(ref, (last, []))[1].append(module)
    return rates


def _ended(context: Context, stage: Stage) -> float | None:
    """The rate at which a stage ended, or all that are merged in it; None where there is none, or not one alone."""
    if stage.merge is not None:
        rates = {_ended(context, parent) for _, parent in context.trained_parents(stage)}
        return rates.pop() if len(rates) == 1 else None
    if stage.kind == "import" or stage.schedule is None or not stage.schedule.pieces:
        return None
    return lr(stage.schedule, stage.schedule.pieces[-1].end)


def _step(
    context: Context,
    name: str,
    schedule: Schedule,
    clock: int,
    before: float,
    parent: str | None = None,
    modules: Sequence[str] = (),
) -> Iterator[Finding]:
    """A jump inside a stage is at the piece that begins there, one over a hand-over at the modules that are handed."""
    piece = next((number for number, one in enumerate(schedule.pieces) if one.start <= clock < one.end), None)
    if piece is None:
        return  # a gap, which I-05 names
    after = lr_before(schedule, clock)
    near = within_a_step(context, parent, after, lambda trunk: trunk.schedule)
    if not near and not isclose(before, after, rel_tol=numbers.SAME):
        yield context.finding(
            "I-28", name, ("schedule",), parent=parent,
            observed=f"the rate jumps from {before:g} to {after:g} at {clock:,}",
            expected="a continuous rate, or a declared jump",
            repair="Write `from: current` on the schedule's first piece, or `jump: <reason>` on the one that jumps.",
            at=modules or (f"schedule.{piece}",), found=(context.full_rate(before), context.full_rate(after)),
        )  # fmt: skip
