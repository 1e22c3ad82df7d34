"""What a phase weighs its losses and moves its router by: numbers, or the schedules that give them."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from stages.spec.nodes import Document, Path
from stages.spec.numbers import Numbers, named
from stages.spec.resolved_phases import Loops, Router
from stages.spec.resolved_training import Schedule
from stages.spec.scheduled import Named
from stages.spec.schema.phases import RawLoops, RawRouter


@dataclass(frozen=True)
class Weights:
    """Of the phase at `path` of a stage's spec."""

    document: Document
    path: Path
    numbers: Numbers

    def of(self, block: str, key: str, written: Fraction | Named) -> float | Schedule:
        """A number of a block of the phase, or of the phase itself, up to the phase's end. Raises SpecError."""
        name, phases = named(block, key), int(self.path[-1]) + 1
        return self.numbers.number(name, written, self.document, (*self.path, *name.split(".")), phases)

    def loops(self, raw: RawLoops) -> Loops:
        """Loops and the weight of the entropy."""
        return Loops(count=raw.count, beta=self.of("loops", "beta", raw.beta))

    def router(self, raw: RawRouter) -> Router:
        """MoE balancing."""
        rate, loss = (self.of("router", key, getattr(raw, key)) for key in ("bias_update", "aux_loss"))
        return Router(bias_update=rate, aux_loss=loss)
