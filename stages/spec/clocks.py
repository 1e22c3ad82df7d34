"""The clock of a stage: which lineage its schedule counts along, and the schedule cut to what the stage can see."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from stages.errors import SpecError
from stages.spec import shapes
from stages.spec.clock_map import Cut, cut
from stages.spec.loader import LoadedPipeline, LoadedStage
from stages.spec.nodes import Document, Path
from stages.spec.resolved_training import Piece, Schedule
from stages.spec.scales import Scale
from stages.spec.schedule_layout import Laid, ScheduleError, Span, lay
from stages.spec.schema.phases import RawPhase
from stages.spec.schema.pipeline import RawPiece
from stages.spec.schema.stages import RawTrain
from stages.spec.validate import unknown_name


@dataclass(frozen=True)
class Reached:
    """What a number other than the learning rate has come to at the end of a stage.

    `schedule` gave it, whose first piece met `entered`; None where it is stated.
    """

    value: Fraction
    schedule: str | None
    entered: Fraction | None


@dataclass(frozen=True)
class Clock:
    """Where a lineage stands at the end of a stage: the phases that its schedule has counted, and the rate reached."""

    schedule: str | None
    spans: tuple[Span, ...]
    rate: Fraction | None  # the paper's rate at the end; None where it is unknown or a stand-in's
    entered: Fraction | None = None  # the rate that the schedule's first piece met when the lineage began
    reader: str | None = None  # the stage that counted last
    numbers: Mapping[str, Reached] = field(default_factory=dict)  # those that a schedule may give, by name
    left: str = ""  # in words: where and in what piece a schedule was left, or how the parents of a merge ended apart

    @property
    def here(self) -> int:
        """The scale's clock."""
        return self.spans[-1].here[1] if self.spans else 0

    @property
    def paper(self) -> int:
        """The paper's clock."""
        return self.spans[-1].paper[1] if self.spans else 0


ZERO = Clock(None, (), None)


@dataclass(frozen=True)
class Extent:
    """How far a stage reads its named schedule, on the paper's clock: what the cut to the lineage leaves out too.

    `laid` are the pieces up to the one in which the stage ends, that one with its written end; `left` are the pieces
    after it, which the stage does not reach; `spans` are the phases of the lineage, `own` of which are the stage's;
    `after` is the stage whose clock goes on here, None after a reset.
    """

    schedule: str
    after: str | None
    laid: tuple[Laid, ...]
    left: tuple[RawPiece, ...]
    spans: tuple[Span, ...]
    own: int

    @property
    def start(self) -> int:
        """The clock at which the stage begins."""
        return self.spans[-self.own].paper[0]

    @property
    def end(self) -> int:
        """The clock at which the stage ends."""
        return self.spans[-1].paper[1]

    @property
    def highest(self) -> Fraction:
        """The highest value of its pieces."""
        return max(max(one.first, one.last) for one in self.laid)

    @property
    def value(self) -> Fraction:
        """What the schedule has come to there, as it is written."""
        return self.laid[-1].rate(self.end)


def advance(before: Clock, phases: Sequence[RawPhase], scale: Scale) -> tuple[Span, ...]:
    """The spans of a lineage with a stage's phases added."""
    spans = list(before.spans)
    paper, here = before.paper, before.here
    for phase in phases:
        budget = scale.budget(phase)
        spans.append(Span(phase, (paper, paper + phase.size), (here, here + budget)))
        paper, here = spans[-1].paper[1], spans[-1].here[1]
    return tuple(spans)


def pieces_of(pipeline: LoadedPipeline, document: Document, key: Path, name: str) -> list[RawPiece]:
    """The pieces of a schedule that a file names at `key`. Raises SpecError if there is none of that name."""
    if name not in pipeline.raw.schedules:
        raise unknown_name(document, key, "schedule", name, pipeline.raw.schedules)
    return pipeline.raw.schedules[name]


def schedule(
    pipeline: LoadedPipeline,
    stage: LoadedStage,
    key: Path,
    name: str,
    before: Clock,
    spans: tuple[Span, ...],
    rate: Fraction | None,
    scale: Scale,
    left: str,
) -> tuple[Schedule, Clock, Extent]:
    """The named schedule up to the end of the spans, at the scale, the clock at that end, and how far it was read.

    `key` is where the stage names it; `spans` are those of the clock `before` and the stage's own; `rate` is what the
    first piece has to be continuous with, and `left` how the clock with that rate was left.
    """
    own = len(spans) - len(before.spans)
    pieces = pieces_of(pipeline, stage.document, key, name)
    try:
        laid = lay(pieces, spans, rate)
        resolved = along(name, laid, spans, scale, scale.rate)
    except ScheduleError as error:
        budget = (*key[:-1], "phases", own - 1, "budget")
        raise _located(pipeline, stage, key, name, _because(error, left), budget) from None
    extent = Extent(name, before.reader, tuple(laid), tuple(pieces[len(laid) :]), spans, own)
    return resolved, Clock(name, spans, extent.value, rate, stage.raw.stage, left=_left(stage, extent)), extent


def _because(error: ScheduleError, left: str) -> ScheduleError:
    """A jump where a stage begins, with where its parent left its own schedule: one of the two is at fault.

    Where a merge's parents ended apart, each with its rate: one of them is at fault.
    """
    if not left or error.piece != 0 or not error.of_reader:
        return error
    if error.invariant == "I-05":
        return ScheduleError(
            error.piece, f"`from: current` where {left}", error.allowed, error.repair, of_reader=True,
            invariant=error.invariant,
        )  # fmt: skip
    if error.invariant != "I-28":
        return error
    return ScheduleError(
        error.piece, f"{error.found}, since {left}", error.allowed,
        f"Let that schedule end where its budgets do. Where it is left there on purpose: {error.repair[0].lower()}"
        f"{error.repair[1:]}", of_reader=error.of_reader, key=error.key, invariant=error.invariant,
    )  # fmt: skip


def _left(stage: LoadedStage, extent: Extent) -> str:
    """Where a stage leaves its schedule, if that is in the middle of a piece that changes the rate."""
    last, unit = extent.laid[-1], extent.spans[-1].phase.unit
    if last.shape == "constant" or last.end == extent.end:
        return ""
    end = f"{shapes.named(last.shape)} that ends at {last.end:,}"
    return f"{stage.raw.stage} leaves schedule {extent.schedule!r} at {extent.end:,} {unit}, inside {end}"


def along(
    name: str, laid: Sequence[Laid], spans: Sequence[Span], scale: Scale, value: Callable[[Fraction], float]
) -> Schedule:
    """Laid pieces at the scale, `value` of what they come to. Raises ScheduleError."""
    cuts = cut(laid, spans, scale)
    jumps = tuple((one.start, one.piece.jump) for one in cuts if one.piece.jump is not None and one.begins)
    return Schedule(name=name, pieces=tuple(resolved_piece(one, value) for one in cuts), jumps=jumps)


def at_fault(
    pipeline: LoadedPipeline, stage: LoadedStage, document: Document, key: Path, name: str, error: ScheduleError
) -> tuple[Document, Path, str]:
    """The piece of the schedule that is at fault, or where it is named (`key` of `document`); and what is found."""
    found = f"{error.found}, as {stage.raw.stage} reads it" if error.of_reader else error.found
    if error.piece is not None:
        path: Path = ("schedules", name, error.piece, *([error.key] if error.key else []))
        return pipeline.document, path, found
    return document, key, found


def _located(
    pipeline: LoadedPipeline, stage: LoadedStage, key: Path, name: str, error: ScheduleError, budget: Path
) -> SpecError:
    """The error at the piece of the schedule that is at fault, or where the stage names the schedule.

    Where a stage before this one begins with the schedule too, the pieces are right for that one: here it is the
    clock that begins again. Where a reading takes both from what it extends, and has a `budget` of its own, that one is
    at fault: the schedule fits what it was written for.
    """
    if error.of_reader and error.piece == 0 and (other := _begins_before(pipeline, stage, name)) is not None:
        piece = pipeline.document.where(("schedules", name, 0))
        found = f"{error.found}, where schedule {name!r} ({piece}) begins again after {other}"
        repair = "Write `clock: continue`, name another schedule, or declare the jump with its reason."
        return stage.document.error(("init", "clock"), found, error.allowed, repair, error.invariant)
    document, path, found = at_fault(pipeline, stage, stage.document, key, name, error)
    there = document.where(path)
    if not pipeline.writes(there) and pipeline.writes(stage.document.where(budget)):
        found = f"{found} (schedule {name!r}, {there})"
        return stage.document.error(budget, found, error.allowed, error.repair, error.invariant)
    return document.error(path, found, error.allowed, error.repair, error.invariant)


def _begins_before(pipeline: LoadedPipeline, stage: LoadedStage, name: str) -> str | None:
    """The first stage of the pipeline's list that begins with a schedule, if it is before this one."""
    raws = (one.raw for one in pipeline.stages.values() if isinstance(one.raw, RawTrain))
    first = next((raw for raw in raws if raw.schedule == name and raw.init.clock == "reset"), None)
    return None if first is None or first is stage.raw else first.stage


def resolved_piece(one: Cut, value: Callable[[Fraction], float]) -> Piece:
    """A stretch of a piece with the values at the scale."""
    return Piece(
        start=one.start,
        end=one.end,
        shape=one.piece.shape,
        first=value(one.piece.first),
        last=value(one.piece.last),
        p0=(one.p0.numerator, one.p0.denominator),
        p1=(one.p1.numerator, one.p1.denominator),
        exponent=None if one.piece.exponent is None else float(one.piece.exponent),
    )
