"""Numbers besides the learning rate that a schedule may give: what they are at a clock, where a stage reads them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stages.contract.schedule import lr, lr_before
from stages.spec.frozen import Frozen
from stages.spec.numbers import of_optimizer, of_phase
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Phase
from stages.spec.resolved_training import Schedule


def value(number: float | Schedule, clock: int | None) -> float:
    """A number in a step that ends at `clock`. Raises ValueError for a schedule that is read at no clock."""
    if not isinstance(number, Schedule):
        return number
    if clock is None:
        raise ValueError(f"schedule {number.name!r} is read at no clock")
    return lr(number, clock)


def extremes(number: float | Schedule) -> tuple[float, float]:
    """The lowest and the highest value: pieces are monotonic."""
    if not isinstance(number, Schedule):
        return number, number
    ends = [end for piece in number.pieces for end in (piece.first, piece.last)]
    return min(ends), max(ends)


def settled(number: float | Schedule) -> float:
    """The lowest of what a number comes to: its highest value, and the one that it ends with. It may begin below."""
    return min(extremes(number)[1], number.pieces[-1].last) if isinstance(number, Schedule) else number


def timeless(value: Any) -> Any:
    """A resolved value without the clocks of its schedules: what a scale leaves as it is."""
    if isinstance(value, Schedule):
        pieces = tuple(piece.model_copy(update={"start": 0, "end": 0}) for piece in value.pieces)
        return value.model_copy(update={"pieces": pieces, "jumps": ()})
    if isinstance(value, Frozen):
        return value.model_copy(update={name: timeless(getattr(value, name)) for name in type(value).model_fields})
    return value


@dataclass(frozen=True)
class Reading:
    """A number over the stretch (start, end] of a stage's clock; `key` leads there in the stage's spec."""

    name: str
    key: tuple[str | int, ...]
    start: int
    end: int
    number: float | Schedule

    @property
    def first(self) -> float:
        """Where it begins: the limit from the right."""
        return lr_before(self.number, self.start) if isinstance(self.number, Schedule) else self.number

    @property
    def last(self) -> float:
        """Where it ends."""
        return value(self.number, self.end)


def readings(stage: Stage) -> list[Reading]:
    """Every such number of a stage, in the order of the clock; what phases share is read over all of them."""
    if stage.optimizer is None or not stage.phases:
        return []
    start, end = stage.phases[0].clock_start, stage.phases[-1].clock_end
    found = [Reading(name, ("optimizer",), start, end, number) for name, number in of_optimizer(stage.optimizer)]
    for index, phase in enumerate(stage.phases):
        found += [
            Reading(name, ("phases", index, *name.split(".")), phase.clock_start, phase.clock_end, number)
            for name, number in of_phase(phase)
        ]
    return found


def scheduled(stage: Stage) -> tuple[str, ...]:
    """The names of those that a schedule gives in some phase: the columns that metrics have for them."""
    return tuple(dict.fromkeys(one.name for one in readings(stage) if isinstance(one.number, Schedule)))


def at(stage: Stage, phase: Phase, clock: int) -> dict[str, float]:
    """What the scheduled ones are in a step of a phase, by name."""
    return {name: value(number, clock) for name, number in _of(stage, phase)}


def over(stage: Stage, phase: Phase) -> Iterator[tuple[str, float, float]]:
    """Name, value where the phase begins (the limit from the right) and where it ends, of the scheduled ones."""
    for name, number in _of(stage, phase):
        one = Reading(name, (), phase.clock_start, phase.clock_end, number)
        yield name, one.first, one.last


def _of(stage: Stage, phase: Phase) -> Iterator[tuple[str, float | Schedule]]:
    """The scheduled ones as a phase has them."""
    known = {**dict(of_optimizer(stage.optimizer)), **dict(of_phase(phase))}
    yield from ((name, known[name]) for name in scheduled(stage) if name in known)


def edge(parent: Stage, child: Stage) -> dict[str, tuple[float, float]]:
    """What each number ends with in a parent and begins with in its child, where a schedule gives it on either side."""
    ended = {one.name: one for one in readings(parent)}
    begun = {one.name: one for one in reversed(readings(child))}
    return {
        name: (ended[name].last, one.first)
        for name, one in sorted(begun.items())
        if name in ended and any(isinstance(side.number, Schedule) for side in (ended[name], one))
    }
