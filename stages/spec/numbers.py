"""Numbers beside the learning rate that a schedule gives, laid on the clock that the learning rate is read at.

The same rules hold for them: one schedule along a lineage, from its clock 0, cut at the borders of phases. They are
what is written at every scale: a scale's factor is the learning rate's alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from stages.errors import SpecError
from stages.spec.clocks import Clock, Extent, Reached, resolved_piece
from stages.spec.loader import LoadedPipeline, LoadedStage
from stages.spec.nodes import Document, Path
from stages.spec.resolved import Stage
from stages.spec.resolved_training import Optimizer, Schedule
from stages.spec.scales import Scale
from stages.spec.scheduled import Named
from stages.spec.schema import RawStandIn, RawTrain
from stages.spec.validate import meant
from stages.spec.warp import ScheduleError, Span, cut, lay

# What may be scheduled, by the field's name: of an optimizer, and of a phase below a key or (without one) its own.
OF_GROUP = " of "  # of a rate that an optimizer reports: "llm of embeddings"
OF_OPTIMIZER = ("weight_decay", "beta1", "beta2", "momentum", "ema")
OF_PHASE = (
    ("loops", "beta"),
    ("router", "bias_update"),
    ("router", "aux_loss"),
    ("coca", "caption_weight"),
    ("", "z_loss"),
)


def of_optimizer(optimizer: Optimizer | None) -> Iterator[tuple[str, float | Schedule]]:
    """The numbers that an optimizer has, by name."""
    for name in OF_OPTIMIZER:
        number = getattr(optimizer, name, None)
        if number is not None:
            yield name, number


def named(block: str, key: str) -> str:
    """The name of a number of a phase: router.aux_loss, z_loss."""
    return f"{block}.{key}" if block else key


def of_phase(phase: Any) -> Iterator[tuple[str, Any]]:
    """The numbers that a phase has, raw or resolved, by name."""
    for block, key in OF_PHASE:
        held = getattr(phase, block) if block else phase
        if held is not None and getattr(held, key) is not None:
            yield named(block, key), getattr(held, key)


def schedules_of(pipeline: LoadedPipeline, training: RawTrain | RawStandIn) -> Iterator[str]:
    """The schedules that give numbers of a stage's optimizer and phases."""
    held: list[Any] = [*pipeline.raw.optimizers.get(training.optimizer, {}).values()]
    for phase in training.phases:
        held += [number for _, number in of_phase(phase)]
    yield from dict.fromkeys(one.schedule for one in held if isinstance(one, Named))


def last_numbers(stage: Stage) -> Iterator[tuple[str, float | Schedule]]:
    """Every such number of a resolved stage by name, as the last phase that has it holds it."""
    found = dict(of_optimizer(stage.optimizer))
    for phase in stage.phases:
        found |= dict(of_phase(phase))
    yield from found.items()


@dataclass
class Numbers:
    """Of one stage: `before` is the clock at which it begins, `spans` lead to its end, `met` is what was reached above.

    `reached` and `extents` are filled while numbers are asked for.
    """

    pipeline: LoadedPipeline
    stage: LoadedStage
    before: Clock
    spans: tuple[Span, ...]
    met: Mapping[str, Reached]
    scale: Scale
    reached: dict[str, Reached] = field(default_factory=dict)
    extents: dict[tuple[str, str], Extent] = field(default_factory=dict)  # by number and schedule

    def optimizer(self, fields: Mapping[str, Any], name: str) -> dict[str, Any]:
        """The fields of an optimizer of pipeline.yaml, with schedules for names of schedules, to the stage's end."""
        own = len(self.spans) - len(self.before.spans)
        return {
            key: self.number(key, value, self.pipeline.document, ("optimizers", name, key), own)
            if key in OF_OPTIMIZER
            else value
            for key, value in fields.items()
        }

    def number(
        self, name: str, written: Fraction | float | Named, document: Document, key: Path, phases: int
    ) -> float | Schedule:
        """A number over the first `phases` of the stage's phases. Raises SpecError."""
        if not isinstance(written, Named):
            self.reached[name] = Reached(Fraction(str(written)) if isinstance(written, float) else written, None, None)
            return float(written)
        rate = self._met(name, written.schedule)
        spans = self.spans[: len(self.before.spans) + phases]
        known = self.pipeline.raw.schedules
        if written.schedule not in known:
            found, repair = f"the unknown schedule {written.schedule!r}", meant(written.schedule, known)
            raise document.error(key, found, ", ".join(known), repair)
        pieces = known[written.schedule]
        try:
            laid = lay(pieces, spans, rate, name)
            cuts = cut(laid, spans, self.scale)
        except ScheduleError as error:
            raise self._located(error, written.schedule, document, key) from None
        for index, piece in enumerate(laid):
            if wrong := next((one for one in (piece.first, piece.last) if not written.domain.contains(one)), None):
                path, repair = ("schedules", written.schedule, index), f"Correct the piece: {name} reads it."
                raise self.pipeline.document.error(path, f"{float(wrong):g}", written.domain.allowed, repair)
        end = spans[-1].paper[1]
        last = next(piece for piece in laid if piece.start < end <= piece.end)
        self.reached[name] = Reached(last.rate(end), written.schedule, rate)
        after = self.before.reader if self._goes_on(name, written.schedule) else None
        left = tuple(pieces[len(laid) :])
        self.extents[name, written.schedule] = Extent(written.schedule, after, tuple(laid), left, spans, phases)
        jumps = tuple((one.start, one.piece.jump) for one in cuts if one.piece.jump is not None and one.begins)
        made = tuple(resolved_piece(one, float) for one in cuts)
        return Schedule(name=written.schedule, pieces=made, jumps=jumps)

    def _goes_on(self, name: str, schedule: str) -> bool:
        """Whether the parent whose clock goes on has read the same schedule for the same number."""
        return bool(self.before.spans) and name in self.met and self.met[name].schedule == schedule

    def _met(self, name: str, schedule: str) -> Fraction | None:
        """What the first piece has to be continuous with, None where there is nothing."""
        if self.before.spans:  # the first piece lies behind
            return self.met[name].entered if self._goes_on(name, schedule) else None
        return self.met[name].value if name in self.met else None

    def _located(self, error: ScheduleError, schedule: str, document: Document, key: Path) -> SpecError:
        found = f"{error.found}, as {self.stage.raw.stage} reads it" if error.of_reader else error.found
        if error.piece is not None:
            document, key = self.pipeline.document, ("schedules", schedule, error.piece)
        return document.error(key, found, error.allowed, error.repair)
