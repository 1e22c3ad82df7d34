"""What became of a stage's learning rate: where the curve begins to differ, how much, its peak and its ends."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from stages.contract import schedule
from stages.spec.resolved import Stage
from stages.spec.resolved_training import Schedule

POINTS = 512  # samples of a stage's clock, besides the borders of its pieces
WITHIN = 8  # parts of a piece at whose borders it is read too: a short one has none of the others


@dataclass(frozen=True)
class CurveChange:
    """Two curves over one stage; pairs are (old, new). `start` is the LR where the stage begins (the limit from the
    right), `end` where it ends, `peak` the highest in between, both ends included.
    """

    first_clock: int  # ledger units on the newer clock at which they differ for the first time
    everywhere: bool  # from the stage's first unit on
    largest: float  # relative to the old rate, signed; 0 where only the length differs, infinite where all were 0
    start: tuple[float, float]
    end: tuple[float, float]
    peak: tuple[float, float]


def compare(old: Stage, new: Stage) -> CurveChange | None:
    """None where both stages have the same rates at the same distance from their start, or one has none."""
    if old.schedule is None or new.schedule is None or not old.phases or not new.phases:
        return None
    (a, start_a, length_a), (b, start_b, length_b) = _span(old, old.schedule), _span(new, new.schedule)
    length = min(length_a, length_b)
    borders = {clock - start for s, start in ((a, start_a), (b, start_b)) for clock in _within(s)}
    grid = {length * number // POINTS for number in range(1, POINTS + 1)}
    at = sorted(clock for clock in borders | grid | {1} if 0 < clock <= length)

    def differ(clock: int) -> bool:
        return schedule.lr(a, start_a + clock) != schedule.lr(b, start_b + clock)

    wrong = [clock for clock in at if differ(clock)]
    ends = (schedule.lr(a, start_a + length_a), schedule.lr(b, start_b + length_b))
    if not wrong and length_a == length_b:
        return None
    first = _first(differ, max((clock for clock in at if clock < wrong[0]), default=0), wrong[0]) if wrong else length
    changes = {clock: _change(schedule.lr(a, start_a + clock), schedule.lr(b, start_b + clock)) for clock in wrong}
    finite = {clock: change for clock, change in changes.items() if math.isfinite(change)} or changes
    largest = max(finite.values(), key=abs, default=0.0)
    starts = (schedule.lr_before(a, start_a), schedule.lr_before(b, start_b))
    peaks = (schedule.peak(a, start_a, start_a + length_a)[0], schedule.peak(b, start_b, start_b + length_b)[0])
    return CurveChange(start_b + first, first == 1, largest, starts, ends, peaks)


def _within(curve: Schedule) -> Iterator[int]:
    """Clocks at which each piece is read: its end, and those that part it evenly."""
    for piece in curve.pieces:
        yield from (piece.start + (piece.end - piece.start) * part // WITHIN for part in range(1, WITHIN + 1))


def _span(stage: Stage, curve: Schedule) -> tuple[Schedule, int, int]:
    return curve, stage.phases[0].clock_start, stage.budget


def _first(differ: Callable[[int], bool], equal: int, unequal: int) -> int:
    """The first clock that differs between one that does not and one that does."""
    while unequal - equal > 1:
        middle = (equal + unequal) // 2
        equal, unequal = (equal, middle) if differ(middle) else (middle, unequal)
    return unequal


def _change(old: float, new: float) -> float:
    return (new - old) / old if old else float("inf")
