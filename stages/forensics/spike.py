"""Steps whose loss or gradient norm stands out from the steps before them in the same phase."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from statistics import median

COLUMNS = ("loss", "grad_norm")
WINDOW = 64  # steps before, at most, from which the usual spread is taken
LEAST = 16  # steps before, at least: a median of fewer says little; the usual value is that of the last so many
# Of a modified z-score, 0.6745 (x - median) / MAD. Iglewicz & Hoaglin (1993), "How to detect and handle outliers", take
# 3.5 for normal samples; the noise of a loss and of a norm has longer tails. Chosen: twice that.
THRESHOLD = 7.0
FLAT = 1e-3  # the least spread that counts, of a logarithm: a thousandth of the value


@dataclass(frozen=True)
class Spike:
    """A number of a step (from 1) that is far above the median of the steps before it."""

    step: int
    column: str
    value: float
    usual: float
    score: float


def spikes(rows: Sequence[dict[str, str]]) -> list[Spike]:
    """The outliers among rows of metrics.csv, in the order of steps. Each phase is judged on its own."""
    found: list[Spike] = []
    for _, of_phase in groupby(rows, key=lambda row: row["phase"]):
        part = list(of_phase)
        for column in COLUMNS:
            found += _outliers(part, column)
    return sorted(found, key=lambda one: (one.step, one.column))


def _outliers(rows: Sequence[dict[str, str]], column: str) -> Iterator[Spike]:
    values = [float(row[column]) for row in rows]
    for place in range(LEAST, len(rows)):
        usual, score = _score(values[max(0, place - WINDOW) : place], values[place])
        if score > THRESHOLD:
            yield Spike(int(rows[place]["step"]), column, values[place], usual, score)


def _score(before: Sequence[float], value: float) -> tuple[float, float]:
    """(median of the values just before, modified z-score of the value), both of logarithms.

    The spread is that of differences between steps, by the square root of 2, so that a curve that falls widens nothing.
    """
    logs = [math.log(max(one, 1e-30)) for one in before]
    middle = median(logs[-LEAST:])
    spread = max(median(abs(after - one) for one, after in pairwise(logs)) / math.sqrt(2), FLAT)
    return math.exp(middle), 0.6745 * (math.log(max(value, 1e-30)) - middle) / spread
