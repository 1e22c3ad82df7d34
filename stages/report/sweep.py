"""The variants of one stage side by side: what each came to, which is best, and one picture of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from rich.table import Table

from stages.report.headlines import MEASURES, VALIDATION, Measure, headline
from stages.report.metrics import StageResult, running_mean
from stages.report.pipeline_plot import UNITS
from stages.report.style import BLUE, GREEN, GREY, INK, PURPLE, VERMILLION, save, styled
from stages.report.table import ends
from stages.report.words import count
from stages.spec import units

COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, INK)
COLUMNS = ("stage", "value", "state", "train loss")


@dataclass(frozen=True)
class Arm:
    """One variant: its stage, its value, and its result where that is the one that the specs ask for."""

    stage: str
    value: str
    state: str
    result: StageResult | None

    def reached(self, measure: Measure) -> float | None:
        """What the finished stage was evaluated at."""
        return None if self.result is None else self.result.after.get(measure.name)

    @property
    def number(self) -> float | None:
        """The value where it is a plain number."""
        try:
            return float(units.number(self.value))
        except units.BadQuantity:
            return None


def measure_of(arms: Sequence[Arm]) -> Measure | None:
    """What variants are ranked by: the validation loss, else the most telling evaluation that they have."""
    results = [arm.result for arm in arms if arm.result is not None]
    if any(VALIDATION.name in one.after for one in results):
        return VALIDATION
    return next(filter(None, (headline(one.after) for one in results)), None)


def best(arms: Sequence[Arm], measure: Measure | None) -> Arm | None:
    """The variant with the best value of a measure, the first of equals; None where none has one."""
    known = [(arm, value) for arm in arms if measure is not None and (value := arm.reached(measure)) is not None]
    if measure is None or not known:
        return None
    sign = 1 if measure.better == "lower" else -1
    return min(known, key=lambda one: sign * one[1])[0]


def said(arms: Sequence[Arm], field: str) -> list[str]:
    """Which is best, by how much, and what that does not say."""
    measure = measure_of(arms)
    first = best(arms, measure)
    done = sum(arm.result is not None for arm in arms)
    if first is None or measure is None:
        return [f"{done} of {len(arms)} done; none has an evaluation to rank it by"]
    others = [arm for arm in arms if arm is not first and arm.reached(measure) is not None]
    second = best(others, measure)
    text = f"best: {first.stage} ({field}: {first.value}), {measure.label} {_number(measure, first)}"
    if second is not None:
        text += f"; next {second.stage} ({second.value}), {_number(measure, second)}"
    lines = [text]
    if done < len(arms):
        lines.append(f"{done} of {len(arms)} are done: the others are not compared")
    numbers = sorted(arm.number for arm in arms if arm.number is not None)
    if first.number is not None and len(numbers) == len(arms) and first.number in (numbers[0], numbers[-1]):
        lines.append("it is at the end of the values: the best may lie beyond them")
    return lines


def _number(measure: Measure, arm: Arm) -> str:
    value = arm.reached(measure)
    return "-" if value is None else measure.text(value) if measure.form == "share" else f"{value:.4f}"


def rich_table(title: str, arms: Sequence[Arm]) -> Table:
    """One line a variant, the best marked."""
    measured = [one for one in (VALIDATION, *MEASURES) if any(arm.reached(one) is not None for arm in arms)]
    first = best(arms, measure_of(arms))
    table = Table(title=title, title_justify="left")
    for name in (*COLUMNS, *(one.label for one in measured)):
        table.add_column(name)
    for arm in arms:
        trained = "-" if arm.result is None else " → ".join(f"{loss:.4f}" for loss in ends(arm.result))
        cells = (arm.stage, arm.value, arm.state, trained, *(_number(one, arm) for one in measured))
        table.add_row(*cells, style="bold" if arm is first else None)
    return table


def as_json(arms: Sequence[Arm], field: str) -> dict[str, Any]:
    """The same as plain values; losses of training are means over the first and the last tenth of the steps."""
    measure = measure_of(arms)
    first = best(arms, measure)
    return {
        "field": field,
        "ranked_by": None if measure is None else measure.name,
        "best": None if first is None else first.stage,
        "variants": [
            {
                "stage": arm.stage,
                "value": arm.value,
                "state": arm.state,
                "train_loss": None if arm.result is None else list(ends(arm.result)),
                "after": {} if arm.result is None else dict(arm.result.after),
            }
            for arm in arms
        ],
    }


def write(arms: Sequence[Arm], title: str, field: str, path: Path) -> None:
    """One picture: the training loss of all variants that are done, and what each was evaluated at, by its value."""
    done = [(arm, arm.result) for arm in arms if arm.result is not None and arm.result.metrics is not None]
    with styled():
        figure = Figure(figsize=(9.6, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        left.set_title(title)
        for number, (arm, result) in enumerate(done):
            metrics = result.metrics
            assert metrics is not None
            window = max(1, len(metrics) // 20)
            smooth = running_mean(metrics["loss"], window)
            colour, line = COLOURS[number % len(COLOURS)], ("-", "--", ":")[number // len(COLOURS) % 3]
            left.plot(metrics["consumed"], smooth, color=colour, linestyle=line, label=arm.value)
        left.set_ylabel("training loss, mean over a twentieth")
        if done:
            left.set_xlabel(f"{UNITS[done[0][1].stage.phases[0].unit]} consumed in the stage")
            left.legend(title=field, fontsize=7.5, title_fontsize=7.5, frameon=False)
        left.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(value) if value else "0"))
        left.xaxis.set_major_locator(MaxNLocator(6))
        _evaluated(right, [arm for arm, _ in done], field)
        save(figure, path)


def _evaluated(axes: Axes, arms: Sequence[Arm], field: str) -> None:
    """What each variant was evaluated at: over its value where all are numbers, else one beside the other."""
    measure = measure_of(arms)
    first = best(arms, measure)
    points = [(arm, value) for arm in arms if measure is not None and (value := arm.reached(measure)) is not None]
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
        at = next(index for index, (arm, _) in enumerate(points) if arm is first)
        axes.plot(places[at], points[at][1], "o", color=BLUE, zorder=3)
    else:
        colours = [BLUE if arm is first else GREY for arm, _ in points]
        axes.scatter([arm.value for arm, _ in points], [value for _, value in points], c=colours)
    axes.set_xlabel(field)
    axes.set_ylabel(measure.label)
    axes.set_title(f"best: {first.value}")
