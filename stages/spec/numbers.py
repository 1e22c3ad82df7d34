"""Numbers besides the learning rate that a schedule gives, laid on the clock that the learning rate is read at.

The same rules apply to them: one schedule along a lineage, from its clock 0, cut at the borders of phases. They are
what is written at every scale: a scale's factor is the learning rate's alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from typing import Any

from stages.spec.clocks import Clock, Extent, Reached, along, at_fault, pieces_of
from stages.spec.loader import LoadedPipeline, LoadedStage
from stages.spec.nodes import Document, Path
from stages.spec.resolved import Stage
from stages.spec.resolved_training import Optimizer, Schedule
from stages.spec.scales import Scale
from stages.spec.schedule_layout import ScheduleError, Span, lay
from stages.spec.scheduled import Named
from stages.spec.schema.stages import RawStandIn, RawTrain

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
        values = getattr(phase, block) if block else phase
        if values is not None and getattr(values, key) is not None:
            yield named(block, key), getattr(values, key)


def schedules_of(pipeline: LoadedPipeline, training: RawTrain | RawStandIn) -> Iterator[str]:
    """The schedules that give numbers of a stage's optimizer and phases."""
    values: list[Any] = [*pipeline.raw.optimizers.get(training.optimizer, {}).values()]
    for phase in training.phases:
        values += [number for _, number in of_phase(phase)]
    yield from dict.fromkeys(one.schedule for one in values if isinstance(one, Named))


def last_numbers(stage: Stage) -> Iterator[tuple[str, float | Schedule]]:
    """Every such number of a resolved stage by name, with the value of the last phase that has it."""
    found = dict(of_optimizer(stage.optimizer))
    for phase in stage.phases:
        found |= dict(of_phase(phase))
    yield from found.items()


@dataclass
class Numbers:
    """Of one stage: `before` is the clock at which it begins, `spans` lead to its end, `met` is what was reached above.

    `reached` and `extents` are filled as numbers are read.
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
            self.reached[name] = Reached(_exact(written) if isinstance(written, float) else written, None, None)
            return float(written)
        rate = self._met(name, written.schedule)
        spans = self.spans[: len(self.before.spans) + phases]
        pieces = pieces_of(self.pipeline, document, key, written.schedule)
        try:
            laid = lay(pieces, spans, rate, name)
            resolved = along(written.schedule, laid, spans, self.scale, float)
        except ScheduleError as error:
            there, path, found = at_fault(self.pipeline, self.stage, document, key, written.schedule, error)
            raise there.error(path, found, error.allowed, error.repair, error.invariant) from None
        for index, piece in enumerate(laid):
            if wrong := next((one for one in (piece.first, piece.last) if not written.domain.contains(one)), None):
                path, repair = ("schedules", written.schedule, index), f"Correct the piece: {name} reads it."
                raise self.pipeline.document.error(path, f"{float(wrong):g}", written.domain.allowed, repair)
        after = self.before.reader if self._goes_on(name, written.schedule) else None
        extent = Extent(written.schedule, after, tuple(laid), tuple(pieces[len(laid) :]), spans, phases)
        self.extents[name, written.schedule] = extent
        self.reached[name] = Reached(extent.value, written.schedule, rate)
        return resolved

    def _goes_on(self, name: str, schedule: str) -> bool:
        """Whether the parent whose clock goes on has read the same schedule for the same number."""
        return bool(self.before.spans) and name in self.met and self.met[name].schedule == schedule

    def _met(self, name: str, schedule: str) -> Fraction | None:
        """What the first piece has to be continuous with, None where there is nothing."""
        if self.before.spans:  # the first piece lies behind
            return self.met[name].entered if self._goes_on(name, schedule) else None
        return self.met[name].value if name in self.met else None


@cache
def _exact(number: float) -> Fraction:
    """A number as it is written."""
    return Fraction(str(number))
