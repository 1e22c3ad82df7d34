"""Curves over a whole lineage: what every stage measured, one after another, over the tokens consumed.

A stage has the column that it has in the picture of learning rates (report.columns): as wide as the cube root of its
budget, so that the short ones can be seen; the ticks say the real counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

import numpy as np
import pandas as pd

from stages.report.columns import Column, columns
from stages.report.html.graph import wrapped
from stages.report.html.svg import Axis, Plot, Point, Size
from stages.report.html.views import View
from stages.report.metrics import running_mean
from stages.report.number_format import count, length

UNITS = {"tokens": "tokens", "patches": "image patches"}


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


def smoothed(values: Sequence[float], part: int = 12) -> list[float]:
    """The running mean over a twelfth of the values: what a curve does without what single steps do."""
    window = max(1, len(values) // part)
    return [float(value) for value in running_mean(pd.Series(values), window)]


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


@dataclass(frozen=True)
class Frame:
    """A picture over one row's columns, with its stages named and its axes drawn."""

    plot: Plot
    size: Size

    @classmethod
    def make(
        cls, laid: Sequence[Column], numbers: Mapping[str, int], y: Axis, label: Callable[[float], str], title: str,
        wide: bool, height: float = 330,
    ) -> Frame:  # fmt: skip
        """The empty picture; `numbers` are the stages' by ref."""
        names = [list(_names(laid, numbers, wide))] if wide else []
        lines = max((len(text) for row in names for _, text in row), default=1)
        size = Size(1120, height + 13 * lines, True, 52, 26 + 13.0 * lines) if wide else Size(360, 270, False, 40, 34)
        plot = Plot(size, Axis(0, 1), y, title)
        spans = _spans(laid)
        for number, (left, right) in enumerate(spans):
            if number % 2:
                plot.area([(left, y.low), (right, y.low)], [(left, y.high), (right, y.high)], "band")
        places = {0.0: laid[0].before} | {round(column.right, 9): column.after for column in laid}
        ticks = [(place, count(value) if value else "0") for place, value in sorted(places.items())]
        units = dict.fromkeys(UNITS[phase.unit] for column in laid for phase in column.stage.phases)
        unit = " and ".join(units)
        plot.grid(ticks, y.ticks(label), f"{unit} consumed over the lineage" if wide else f"{unit} consumed", "")
        for column, text in _names(laid, numbers, wide):
            middle = plot.x((column.left + column.right) / 2)
            for row, line in enumerate(text):
                y_at = size.top - 6 - 13 * (len(text) - 1 - row)
                plot.text(middle, y_at, line, text_anchor="middle", cls="column" if row == 0 else "column more")
        for left, _ in spans[1:]:
            plot.upright(left, "border")
        for column in laid:
            begin = column.stage.phases[0].clock_start
            for phase in column.stage.phases[1:]:
                plot.upright(column.at(phase.clock_start - begin), "border phase")
        return cls(plot, size)


def _spans(laid: Sequence[Column]) -> list[tuple[float, float]]:
    return sorted({(round(column.left, 9), round(column.right, 9)) for column in laid})


def _names(laid: Sequence[Column], numbers: Mapping[str, int], wide: bool) -> Iterator[tuple[Column, list[str]]]:
    """What is written over each column: the numbers of its stages, and on a desk their box and contexts."""
    shared: dict[tuple[float, float], list[Column]] = {}
    for column in laid:
        shared.setdefault((round(column.left, 9), round(column.right, 9)), []).append(column)
    for (left, right), here in shared.items():
        number = "·".join(str(numbers[column.stage.ref]) for column in here)
        if not wide:
            yield here[0], [number]
            continue
        stage = here[0].stage
        contexts = "→".join(dict.fromkeys(length(phase.context) for phase in stage.phases))
        name = wrapped(_common([column.stage.name for column in here]), max(7, int((right - left) * 1058 / 6.6)))
        yield here[0], [number, *name, f"{count(stage.budget)} · {contexts}"]


def _common(names: Sequence[str]) -> str:
    """Branches in one column differ in a suffix, "stable_2_1_4b": what they have in common names the column."""
    words = zip(*(name.split("_") for name in names), strict=False)
    return "_".join(same[0] for same in takewhile(lambda same: len(set(same)) == 1, words))


def spread(column: Column, at: Sequence[float], values: Sequence[float]) -> list[Point]:
    """Points of a stage's own units in its column; those beyond its budget are left out."""
    total = column.stage.budget
    return [(column.at(x), y) for x, y in zip(at, values, strict=True) if 0 <= x <= total]


def colour(column: Column) -> str:
    """The class of a column's curve: by branch, and one of its own for vision."""
    return "c2" if column.row == "vision" else f"c{column.branch % 2}"
