"""Learning-rate schedules: pure, piecewise functions of consumed tokens.

A schedule is read at the token count a step *ends* at, so its value depends on nothing but that count: loading a
checkpoint twice, changing the batch or cutting a stage in two cannot move it.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from typing import assert_never

from stages.spec import shapes
from stages.spec.resolved_training import Piece, Schedule

# Taylor series of sin and cos around 0. Up to pi/4 their truncation error is below a double's last bit. Plain
# multiplications and additions round the same way on every IEEE machine; libm's cos does not.
_SIN_TERMS = tuple((-1) ** k / math.factorial(2 * k + 1) for k in range(9))
_COS_TERMS = tuple((-1) ** k / math.factorial(2 * k) for k in range(10))


def lr(schedule: Schedule, clock: int) -> float:
    """Learning rate of a step that ends at `clock` consumed ledger units.

    A piece governs (start, end]; at clock 0 the first piece's start value applies. Raises ValueError outside
    [0, end of the last piece].
    """
    return _value(_piece_at(schedule, clock), clock)


def lr_before(schedule: Schedule, clock: int) -> float:
    """Limit of the curve from the right at `clock`: what the piece that begins there starts from.

    Together with `lr` it shows jumps: the curve is continuous at `clock` exactly when both agree.
    """
    if (piece := piece_from(schedule, clock)) is None:
        raise ValueError(f"no piece of schedule {schedule.name!r} begins or continues at clock {clock}")
    return _value(piece, clock)


def piece_from(schedule: Schedule, clock: int) -> Piece | None:
    """The piece that begins or continues at `clock`; None in a gap and at the end."""
    return next((piece for piece in schedule.pieces if piece.start <= clock < piece.end), None)


def covers(schedule: Schedule, start: int, end: int) -> bool:
    """Whether every clock from `start` to `end` lies in a piece."""
    pieces = schedule.pieces
    joined = bool(pieces) and all(one.end == after.start for one, after in pairwise(pieces))
    return joined and pieces[0].start <= start and end <= pieces[-1].end


def peak(schedule: Schedule, start: int, end: int) -> tuple[float, int]:
    """The highest rate over [start, end] and the first clock that has it. Pieces are monotonic: it is at an end of one.

    At `start` and after a jump it is the limit from the right. Raises ValueError outside of the schedule.
    """
    return max(_ends(schedule, start, end), key=lambda one: (one[0], -one[1]))


def lowest(schedule: Schedule, start: int, end: int) -> tuple[float, int]:
    """The lowest rate over [start, end] and the first clock that has it, likewise."""
    return min(_ends(schedule, start, end))


def _ends(schedule: Schedule, start: int, end: int) -> list[tuple[float, int]]:
    """The rates at both ends of what each piece has inside [start, end], with their clocks."""
    borders = [piece.start for piece in schedule.pieces if start < piece.start < end]
    found = [(lr_before(schedule, clock), clock) for clock in (start, *borders)]
    return found + [(lr(schedule, clock), clock) for clock in (*borders, end)]


def cos_pi(p: Fraction) -> float:
    """cos(pi p) for 0 <= p <= 1, the same double on every machine, exact at 0, 1/2 and 1."""
    if p > Fraction(1, 2):
        return -cos_pi(1 - p)
    if p > Fraction(1, 4):
        x = math.pi * float(Fraction(1, 2) - p)
        return x * _horner(_SIN_TERMS, x * x)
    x = math.pi * float(p)
    return _horner(_COS_TERMS, x * x)


def _piece_at(schedule: Schedule, clock: int) -> Piece:
    pieces = schedule.pieces
    if not pieces or not pieces[0].start <= clock <= pieces[-1].end:
        raise ValueError(f"clock {clock} lies outside schedule {schedule.name!r}")
    return pieces[bisect.bisect_left(pieces, clock, key=lambda piece: piece.end)]


def _value(piece: Piece, clock: int) -> float:
    if piece.shape == "constant":
        return piece.first
    if clock == piece.start and piece.p0 == (0, 1):
        return piece.first
    if clock == piece.end and piece.p1 == (1, 1):
        return piece.last
    p0, p1 = Fraction(*piece.p0), Fraction(*piece.p1)
    progress = p0 + (p1 - p0) * Fraction(clock - piece.start, piece.end - piece.start)
    first, last = Fraction(piece.first), Fraction(piece.last)
    match piece.shape:
        case "linear":
            return float(first + (last - first) * progress)
        case "cosine":  # Loshchilov & Hutter 2016 (arXiv 1608.03983), eq. 5, without restarts
            return float(last + (first - last) * (1 + Fraction(cos_pi(progress))) / 2)
        case "1-sqrt":
            return float(shapes.one_minus_sqrt(first, last, progress))
        case "inverse_sqrt":
            return float(shapes.power_law(first, last, progress, Fraction(1, 2)))
        case "power":
            return float(shapes.power_law(first, last, progress, Fraction(exponent(piece))))
        case "exponential":
            return float(shapes.exponential(first, last, progress))
        case _:
            assert_never(piece.shape)


def exponent(piece: Piece) -> float:
    """The exponent of a piece of shape power."""
    if piece.exponent is None:
        raise ValueError("a piece of shape power without an exponent")
    return piece.exponent


def _horner(terms: Sequence[float], square: float) -> float:
    total = 0.0
    for term in reversed(terms):
        total = total * square + term
    return total
