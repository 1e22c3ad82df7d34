"""One picture of a sweep: training losses of all variants, and what each was evaluated at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from stages.report.metrics import running_mean
from stages.report.number_format import UNITS, count
from stages.report.style import BLUE, GREEN, GREY, INK, PURPLE, VERMILLION, save, styled
from stages.report.sweep import Arm, best, measure_of, reached

TICKED = 6  # values that have a tick each, as they are written; more would run into each other
COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, INK)


def write(arms: Sequence[Arm], title: str, field: str, path: Path) -> None:
    """One picture: the training loss of all variants that are done, and what each was evaluated at, by its value."""
    done = [(arm, arm.metrics) for arm in arms if arm.done and arm.metrics is not None]
    with styled():
        figure = Figure(figsize=(9.6, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        left.set_title(title)
        for number, (arm, metrics) in enumerate(done):
            window = max(1, len(metrics) // 20)
            smooth = running_mean(metrics["loss"], window)
            colour, line = COLOURS[number % len(COLOURS)], ("-", "--", ":")[number // len(COLOURS) % 3]
            left.plot(metrics["consumed"], smooth, color=colour, linestyle=line, label=arm.value)
        left.set_ylabel("training loss, running mean over 5% of its steps")
        if done:
            left.set_xlabel(f"{UNITS[done[0][0].unit]} consumed in the stage")
            left.legend(title=field, fontsize=7.5, title_fontsize=7.5, frameon=False)
        left.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(value)))
        left.xaxis.set_major_locator(MaxNLocator(6))
        _evaluated(right, [arm for arm, _ in done], field)
        save(figure, path)


def _evaluated(axes: Axes, arms: Sequence[Arm], field: str) -> None:
    """What each variant was evaluated at: over its value where all are numbers, else one next to the other."""
    measure = measure_of(arms)
    first = best(arms, measure)
    points = reached(arms, measure)
    if measure is None or first is None:
        axes.set_axis_off()
        return
    numbers = [arm.number for arm, _ in points]
    places = [number for number in numbers if number is not None]
    if len(places) == len(points):
        order = sorted(range(len(points)), key=lambda index: places[index])
        axes.plot([places[i] for i in order], [points[i][1] for i in order], "-o", color=GREY)
        if min(places) > 0 and max(places) >= 10 * min(places):
            axes.set_xscale("log")
        if len(points) <= TICKED:
            axes.set_xticks(places, [arm.value for arm, _ in points])
            axes.minorticks_off()
        at = next(index for index, (arm, _) in enumerate(points) if arm is first)
        axes.plot(places[at], points[at][1], "o", color=BLUE, zorder=3)
    else:
        colours = [BLUE if arm is first else GREY for arm, _ in points]
        axes.scatter([arm.value for arm, _ in points], [value for _, value in points], c=colours)
    axes.set_xlabel(field)
    axes.set_ylabel(measure.label)
    axes.set_title(f"best: {first.value}")
