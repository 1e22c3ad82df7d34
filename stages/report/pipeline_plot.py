"""The learning rate over all tokens of a pipeline, in one picture, from the resolved specs alone.

The curve is the contract's own (`stages.contract.schedule`), so the picture exists for scales that have never been
run; where a stage has results, its measured steps are marked on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from stages.contract.schedule import lr, lr_before
from stages.report.columns import Column, borders, columns, common_words, levels, side_by_side, trained, units
from stages.report.hand_overs import clock_start, hand_overs, planned, schedule_of
from stages.report.number_format import count, lengths, rate
from stages.report.style import BAND, BLUE, GREEN, GREY, INK, VERMILLION, styled
from stages.spec.resolved import Stage

POINTS = 400  # drawn points of a curve per stage
MARKS = 24  # measured steps marked per stage
LETTERS, BOLD, DIGITS, WIDE = 145, 112, 150, 112  # that span it: of boxes' titles, wide ones, of budgets, of ticks
BRANCH = ((BLUE, "-", 2.4), (VERMILLION, (0, (2.2, 1.6)), 2.0))  # the second is dashed: it shows on top of the first
MEASURED: dict[str, Any] = {"linestyle": "none", "marker": "|", "markersize": 7, "color": INK}  # circles are hand-overs
PHASE: dict[str, Any] = {
    "color": GREY,
    "linewidth": 0.6,
    "linestyle": ":",
}  # where a phase of a stage begins, not its first


def draw(title: str, scale: str, stages: Mapping[str, Stage], measured: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw a pipeline.

    `stages` are the resolved stages in topological order; `measured` contains, by "pipeline/stage", the metrics of the
    stages that have results (columns `clock` and `lr`), and may be empty.
    """
    laid = columns(stages)
    rows = [name for name in ("language", "vision") if any(column.row == name for column in laid)]
    with styled():
        beyond = sum(max(_titles([column for column in laid if column.row == name])[1]) for name in rows)
        figure = Figure(figsize=(11.5, 1.2 + 3.3 * len(rows) + 0.5 * beyond), layout="constrained")
        figure.suptitle(f"{title}: learning rate over all tokens", x=0.012, ha="left", fontsize=12.5, weight="bold")
        grid = figure.subplots(len(rows), 1, squeeze=False)
        for axes, name in zip(grid[:, 0], rows, strict=True):
            _draw_row(axes, [column for column in laid if column.row == name], stages, measured)
        _legend(figure, scale, laid, stages, measured)
    return figure


def _draw_row(
    axes: Axes, laid: Sequence[Column], stages: Mapping[str, Stage], measured: Mapping[str, pd.DataFrame]
) -> None:
    bottom, top = _limits(laid)
    axes.set_yscale("log")
    axes.set_ylim(bottom, top)
    axes.set_xlim(0, 1)
    _bands(axes, laid)
    for column in laid:
        _curve(axes, column, bottom)
        if column.stage.ref in measured:
            _marks(axes, column, measured[column.stage.ref])
    _edges(axes, laid, stages, bottom)
    _forks(axes, laid, stages)
    _ticks(axes, laid)
    _joins(axes, laid, stages)


def _curve(axes: Axes, column: Column, bottom: float) -> None:
    """Draw one stage's curve; a rate of zero lies below a logarithmic axis, so the line leaves through its bottom."""
    x, rates = planned(column, POINTS)
    colour, dashes, width = BRANCH[column.branch % len(BRANCH)]
    if column.row == "vision":
        colour, dashes, width = GREEN, "-", 2.4
    axes.plot(
        x, np.maximum(rates, bottom / 10), color=colour, linestyle=dashes, linewidth=width, zorder=3 + column.branch
    )


def _marks(axes: Axes, column: Column, metrics: pd.DataFrame) -> None:
    chosen = metrics.iloc[np.unique(np.linspace(0, len(metrics) - 1, MARKS).astype(int))]
    x = [column.at(int(clock) - clock_start(column)) for clock in chosen["clock"]]
    axes.plot(x, chosen["lr"], **MEASURED, zorder=6)


def _bands(axes: Axes, laid: Sequence[Column]) -> None:
    """Shade every second column and write the box, its budget and its context over it."""
    axes.annotate(
        "budget\ncontext", (0, 1), (-8, 5), "axes fraction", textcoords="offset points", ha="right", va="bottom",
        fontsize=7.5, color=GREY, linespacing=1.1,
    )  # fmt: skip
    places = side_by_side(laid)
    boxes, row_of = _titles(laid)
    above = 25 + 11 * max((box.count("\n") + 1 for box in boxes), default=1)
    for number, (here, box, row) in enumerate(zip(places, boxes, row_of, strict=True)):
        column, up = here[0], row * above
        if number % 2:
            axes.axvspan(column.left, column.right, color=BAND, linewidth=0, zorder=0)
        for phase in column.stage.phases[1:]:
            axes.axvline(column.at(phase.clock_start - clock_start(column)), **PHASE, zorder=1)
        contexts = lengths(column.stage)
        middle = (column.left + column.right) / 2
        axes.annotate(
            box, (middle, 1), (0, 25 + up), "axes fraction", textcoords="offset points",
            ha="center", va="bottom", fontsize=8.5, color=INK, weight="bold", linespacing=1.05,
        )  # fmt: skip
        axes.annotate(
            f"{count(column.stage.budget)}\n{' → '.join(contexts)}", (middle, 1), (0, 5 + up), "axes fraction",
            textcoords="offset points", ha="center", va="bottom", fontsize=7.5, color=GREY, linespacing=1.1,
        )  # fmt: skip


def _titles(laid: Sequence[Column]) -> tuple[list[str], list[int]]:
    """What is written over each place of a row, and in which row of texts, from 0."""
    places = side_by_side(laid)
    boxes = [_wrap(common_words((one.stage.box for one in here), " "), here[0].right - here[0].left) for here in places]
    return boxes, levels([_extent(here[0], box) for here, box in zip(places, boxes, strict=True)])


def _extent(column: Column, box: str) -> tuple[float, float]:
    """From where to where what is written over a column reaches, in shares of the picture."""
    numbers = (count(column.stage.budget), " → ".join(lengths(column.stage)))
    half = max(*(len(line) / BOLD for line in box.split("\n")), *(len(one) / DIGITS for one in numbers)) / 2
    middle = (column.left + column.right) / 2
    return middle - half, middle + half


def _wrap(text: str, share: float) -> str:
    """Break a box's words into lines that fit its column."""
    longest, lines = max(6, int(LETTERS * share)), [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > longest:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)


def _edges(axes: Axes, laid: Sequence[Column], stages: Mapping[str, Stage], bottom: float) -> None:
    """Mark every hand-over: a full dot where the rate goes on, two open ones where it jumps."""
    for edge in hand_overs(laid, stages):
        axes.axvline(edge.x, color=GREY, linewidth=0.6, zorder=1)
        ends = [max(edge.left, bottom), max(edge.right, bottom)]
        if edge.jumps:
            axes.plot([edge.x] * 2, ends, ":", color=INK, linewidth=1, zorder=5)
            axes.plot([edge.x] * 2, ends, "o", mfc="white", mec=INK, markersize=4.2, zorder=7, clip_on=False)
        else:
            axes.plot(edge.x, ends[0], "o", color=INK, markersize=4.2, zorder=7, clip_on=False)


def _forks(axes: Axes, laid: Sequence[Column], stages: Mapping[str, Stage]) -> None:
    """Name the boxes at which a lineage forks: what an upcycle or a keep hands to the branch that follows."""
    every = {stage.ref: stage for stage in stages.values()}
    forks = [
        (column, every[parent])
        for column in laid
        for parent in column.stage.parents
        if parent in every and every[parent].kind in ("upcycle", "keep")
    ]
    for line, (column, box) in enumerate(forks):
        rate_there = lr_before(schedule_of(column), clock_start(column))
        axes.annotate(
            box.box, (column.left, rate_there), (7, -17 - 13 * line), textcoords="offset points", fontsize=8.5,
            color=BRANCH[column.branch % len(BRANCH)][0], weight="bold",
        )  # fmt: skip


def _joins(axes: Axes, laid: Sequence[Column], stages: Mapping[str, Stage]) -> None:
    """Where a vision row ends before the picture does, name the stage that it is handed to, and the rate there."""
    last = max(laid, key=lambda column: column.right)
    heirs = [stage for stage in trained(stages).values() if last.stage.ref in stage.parents]
    if last.row == "vision" and heirs and last.right < 1:
        axes.spines["bottom"].set_bounds(0, last.right)
        schedule = heirs[0].schedule
        goes_on = "" if schedule is None else f" at {rate(lr_before(schedule, heirs[0].phases[0].clock_start))}"
        rate_there = lr(schedule_of(last), clock_start(last) + last.stage.budget)
        axes.annotate(
            f"→ {heirs[0].box}{goes_on}", (last.right, rate_there), (8, -3), textcoords="offset points",
            fontsize=8.5, color=GREEN, weight="bold",
        )  # fmt: skip


def _ticks(axes: Axes, laid: Sequence[Column]) -> None:
    """Put the real counts at the stage borders, and rates in figures on the side."""
    shown = borders(laid)
    row_of = levels([(at - len(text) / WIDE / 2, at + len(text) / WIDE / 2) for at, text in shown])
    axes.set_xticks(
        [at for at, _ in shown], [text if row == 0 else "" for (_, text), row in zip(shown, row_of, strict=True)]
    )
    axes.set_xlabel(f"{units(laid)} consumed along the lineage (a stage is as wide as its budget's cube root)")
    axes.set_ylabel("learning rate")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: rate(value)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6, zorder=0)
    axes.set_axisbelow(True)


def _limits(laid: Sequence[Column]) -> tuple[float, float]:
    """Lower and upper end of the axis: around every plateau, peak and hand-over that is not zero."""
    rates = [
        level
        for column in laid
        for piece in schedule_of(column).pieces
        if piece.end > clock_start(column)
        for level in (piece.first, piece.last)
        if level > 0
    ]
    falls_to_zero = any(schedule_of(column).pieces[-1].last == 0 for column in laid)
    return min(rates) / (6 if falls_to_zero else 2.2), max(rates) * 1.5


def _legend(
    figure: Figure,
    scale: str,
    laid: Sequence[Column],
    stages: Mapping[str, Stage],
    measured: Mapping[str, pd.DataFrame],
) -> None:
    entries = [_dot(INK, "hand-over, rate continues")]
    if any(edge.jumps for edge in hand_overs(laid, stages)):
        entries.append(_dot("white", "hand-over, declared jump"))
    if any(len(column.stage.phases) > 1 for column in laid):
        entries.append(Line2D([], [], **PHASE, label="next phase of a stage"))
    if measured:
        entries.append(Line2D([], [], **MEASURED, label="measured step"))
    source = "" if measured else ", drawn from the specs; not a measurement"
    entries.append(Line2D([], [], linestyle="none", label=f"scale: {scale}{source}"))
    stand_ins = sorted({column.stage.box for column in laid if column.stage.stand_in})
    if stand_ins:
        entries.append(Line2D([], [], linestyle="none", label=f"stand-in weights: {', '.join(stand_ins)}"))
    figure.legend(
        handles=entries, loc="outside lower left", ncols=len(entries), frameon=False, fontsize=8, handletextpad=0.3,
        columnspacing=1.4, borderpad=0.1,
    )  # fmt: skip


def _dot(colour: str, label: str) -> Line2D:
    return Line2D(
        [], [], linestyle="none", marker="o", markersize=4.5, markerfacecolor=colour, markeredgecolor=INK, label=label
    )
