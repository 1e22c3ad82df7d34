"""A learning-rate schedule at many clocks at once, for pictures: apart from `schedule`, which needs no numpy."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from stages.contract.schedule import exponent
from stages.spec.resolved_training import Piece, Schedule


def lr_curve(schedule: Schedule, clocks: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float64]:
    """`schedule.lr` at many clocks (int64, any shape), equal to it up to float64 rounding."""
    at = np.asarray(clocks, dtype=np.int64)
    values = np.full(at.shape, np.nan)
    for number, piece in enumerate(schedule.pieces):
        inside = (at > piece.start) & (at <= piece.end)
        if number == 0:
            inside |= at == piece.start
        p0, p1 = float(Fraction(*piece.p0)), float(Fraction(*piece.p1))
        progress = p0 + (p1 - p0) * (at[inside] - piece.start) / (piece.end - piece.start)
        match piece.shape:
            case "constant":
                values[inside] = piece.first
            case "linear":
                values[inside] = piece.first + (piece.last - piece.first) * progress
            case "cosine":
                values[inside] = piece.last + (piece.first - piece.last) * (1 + np.cos(np.pi * progress)) / 2
            case "1-sqrt":
                values[inside] = piece.last + (piece.first - piece.last) * (1 - np.sqrt(progress))
            case "inverse_sqrt":
                values[inside] = _power_law(piece, progress, 0.5)
            case "power":
                values[inside] = _power_law(piece, progress, exponent(piece))
            case "exponential":
                values[inside] = piece.first * (piece.last / piece.first) ** progress
            case _:
                assert_never(piece.shape)
    if np.isnan(values).any():
        raise ValueError(f"schedule {schedule.name!r} has no value at some of the requested clocks")
    return values


def _power_law(piece: Piece, progress: NDArray[np.float64], exponent: float) -> NDArray[np.float64]:
    grown = (piece.first / piece.last) ** (1 / exponent)
    return piece.first * (1 + progress * (grown - 1)) ** -exponent
