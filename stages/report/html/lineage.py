"""Curves over a whole lineage: what every stage measured, one after another, over the tokens consumed.

A stage has the column that it has in the picture of learning rates (report.columns): as wide as the cube root of its
budget, so that the short ones can be seen; the ticks say the real counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from stages.report.columns import Column, borders, columns, common_words, levels, side_by_side, units
from stages.report.html.graph import wrapped
from stages.report.html.svg import Axis, Plot, Point, Size
from stages.report.html.views import View
from stages.report.metrics import running_mean
from stages.report.number_format import count, lengths

LETTER = 6.6  # pixels of a letter over a column, with some space
WIDEST, BOLD = 6.1, 8.2  # pixels of a letter there at most, and of one of the stages' numbers
LINE = 13.0  # pixels from one line there to the next


@dataclass(frozen=True)
class Curve:
    """Values of a stage over its consumed units: the mean of each stretch of steps, and its lowest and highest."""

    at: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]


def curve(metrics: pd.DataFrame, name: str, points: int) -> Curve | None:
    """A column of metrics.csv in at most `points` points; None where it has no finite value."""
    if name not in metrics:
        return None
    values = pd.to_numeric(metrics[name], errors="coerce").to_numpy(dtype="float64")
    known = np.isfinite(values)
    if not known.any():
        return None
    at, values = metrics["consumed"].to_numpy(dtype="float64")[known], values[known]
    starts = np.linspace(0, len(values), min(points, len(values)) + 1).astype(int)[:-1]
    sizes = np.diff([*starts, len(values)])
    return Curve(
        at=(np.add.reduceat(at, starts) / sizes).tolist(),
        mean=(np.add.reduceat(values, starts) / sizes).tolist(),
        low=np.minimum.reduceat(values, starts).tolist(),
        high=np.maximum.reduceat(values, starts).tolist(),
    )


def smoothed(values: Sequence[float]) -> list[float]:
    """The running mean over a twelfth of the values, and that of it again: losses that alternate are level then."""
    window = max(1, len(values) // 12)
    return [float(value) for value in running_mean(running_mean(pd.Series(values), window), window)]


def rows(views: Sequence[View]) -> dict[str, list[Column]]:
    """Columns by row, language first. Each row is stretched over its whole picture."""
    laid = columns({view.ref: view.stage for view in views})
    found = {}
    for name in ("language", "vision"):
        here = [column for column in laid if column.row == name]
        widest = max((column.right for column in here), default=1.0)
        if here:
            found[name] = [replace(one, left=one.left / widest, right=one.right / widest) for one in here]
    return found


def frame(
    laid: Sequence[Column], numbers: Mapping[str, int], y: Axis, label: Callable[[float], str], title: str, wide: bool,
    height: float = 330,
) -> Plot:  # fmt: skip
    """An empty picture over one row's columns, with its stages named and its axes drawn; `numbers` are the stages'."""
    here = side_by_side(laid)
    names = [_name(some, numbers, wide) for some in here]
    size = Size(1120, height, 52, 26) if wide else Size(360, 250, 40, 14)
    length = size.width - size.left - size.right
    halves = [max(BOLD * len(number), *(WIDEST * len(line) for line in more), 0) / 2 for number, *more in names]
    middles = [
        min(length * (column.left + column.right) / 2, length + size.right - half)
        for (column, *_), half in zip(here, halves, strict=True)
    ]
    row_of = levels([(at - half, at + half) for at, half in zip(middles, halves, strict=True)])
    lines = max(map(len, names), default=1)
    above = LINE * lines * (1 + max(row_of, default=0)) + (0 if wide else 7)
    size = replace(size, height=size.height + above, top=size.top + above)
    plot = Plot(size, Axis(0, 1), y, title)
    for number, (column, *_) in enumerate(here):
        if number % 2:
            left, right = column.left, column.right
            plot.area([(left, y.low), (right, y.low)], [(left, y.high), (right, y.high)], "band")
    plot.grid(borders(laid), y.ticks(label), f"{units(laid)} consumed{' over the lineage' if wide else ''}", "")
    for middle, level, text in zip(middles, row_of, names, strict=True):
        for row, line in enumerate(text):
            y_at = size.top - 6 - LINE * (len(text) - 1 - row + lines * level)
            plot.text(size.left + middle, y_at, line, text_anchor="middle", cls="column" if row == 0 else "column more")
    for column, *_ in here[1:]:
        plot.upright(column.left, "border")
    for column in laid:
        begin = column.stage.phases[0].clock_start
        for phase in column.stage.phases[1:]:
            plot.upright(column.at(phase.clock_start - begin), "border phase")
    return plot


def _name(here: Sequence[Column], numbers: Mapping[str, int], wide: bool) -> list[str]:
    """What is written over columns in one place: the numbers of their stages; on a wide screen, box and contexts."""
    number, stage = "·".join(str(numbers[column.stage.ref]) for column in here), here[0].stage
    if not wide:
        return [number]
    contexts = "→".join(lengths(stage))
    width = max(7, int((here[0].right - here[0].left) * 1058 / LETTER))
    name = wrapped(common_words((column.stage.name for column in here), "_"), width)
    return [number, *name, f"{count(stage.budget)} · {contexts}"]


def spread(column: Column, at: Sequence[float], values: Sequence[float]) -> list[Point]:
    """Points of a stage's own units in its column; those beyond its budget are left out."""
    total = column.stage.budget
    return [(column.at(x), y) for x, y in zip(at, values, strict=True) if 0 <= x <= total]


def colour(column: Column) -> str:
    """The class of a column's curve: by branch, and one of its own for vision."""
    return "c2" if column.row == "vision" else f"c{column.branch % 2}"
