"""Sweeps on a page: the variants of a stage in a table and two pictures, the best of them named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from stages.report.html.lineage import curve, smoothed
from stages.report.html.svg import Axis, Plot, Point, Size, around, both
from stages.report.html.tables import DASH, Table
from stages.report.html.views import FINISHED, View
from stages.report.number_format import UNITS, count
from stages.report.sweep import Arm, best, conclusions, in_words, measure_of, measured, reached, trained

BEST = "best"  # behind a variant's name
MOST = 45  # characters below an axis


@dataclass(frozen=True)
class Swept:
    """A stage with variants, as specs have it: which field differs, and each variant's value by its ref."""

    written: str
    field: str
    values: Mapping[str, str]


@dataclass(frozen=True)
class Sweep:
    """What a page shows of it. `labels` are the values whose curves are drawn, in the order of their colours."""

    written: str
    field: str
    words: Sequence[str]
    table: Table
    losses: Markup | None
    labels: Sequence[str]
    evaluated: Markup | None


def sweeps(swept: Sequence[Swept], views: Mapping[str, View]) -> list[Sweep]:
    """Every sweep of a page; `views` are its stages by ref. What is not done is drawn, and not ranked."""
    found = []
    for one in swept:
        here = [(views[ref], value) for ref, value in one.values.items() if ref in views]
        arms = [arm(view, value) for view, value in here]
        drawn = [one for one in arms if one.metrics is not None and curve(one.metrics, "loss", 1) is not None]
        found.append(
            Sweep(
                written=one.written, field=one.field, words=conclusions(arms, one.field),
                table=_table([view for view, _ in here], arms), losses=_losses(drawn, one.written),
                labels=[one.value for one in drawn], evaluated=_evaluated(arms, one.field, one.written),
            )
        )  # fmt: skip
    return found


def arm(view: View, value: str) -> Arm:
    """A variant with what could be read of it."""
    done = view.manifest is not None and view.verdict.state in FINISHED
    return Arm(
        view.stage.name, value, view.verdict.state, done, view.figures("after"), view.metrics, view.stage.phases[0].unit
    )


def _table(views: Sequence[View], arms: Sequence[Arm]) -> Table:
    shown, first = measured(arms), best(arms, measure_of(arms))
    columns = ("stage", "value", "state", "training loss", *(one.label for one in shown))
    table = Table(columns, right=range(3, len(columns)))
    for view, one in zip(views, arms, strict=True):
        name = f"{one.stage}, {BEST}" if one is first else one.stage
        cells = [name, one.value, one.state, trained(one), *(in_words(measure, one) for measure in shown)]
        table.rows.append((view, [DASH if cell == "-" else cell for cell in cells]))
    return table


def _losses(drawn: Sequence[Arm], written: str) -> Markup | None:
    """Running means of the training loss over the stage; a second round of colours is dashed."""
    curves = [
        (arm, [*zip(one.at, smoothed(one.mean), strict=True)])
        for arm in drawn
        if arm.metrics is not None and (one := curve(arm.metrics, "loss", 240)) is not None
    ]
    if not curves:
        return None
    y = around(value for _, points in curves for _, value in points)
    x = Axis(0, max(points[-1][0] for _, points in curves))

    def draw(wide: bool) -> Markup:
        plot = Plot(_size(wide), x, y, f"{written}: training loss of each variant")
        unit = UNITS[curves[0][0].unit]
        plot.grid(x.ticks(count), y.ticks(_loss), f"{unit} consumed in the stage", "training loss, running mean")
        for number, (arm, points) in enumerate(curves):
            dashed = " branch" if number // 8 % 2 else ""
            plot.line(points, f"mean s{number % 8}{dashed}", f"{arm.value}: {points[-1][1]:.4f} at the end")
        return plot.svg()

    return both(draw)


def _evaluated(arms: Sequence[Arm], field: str, written: str) -> Markup | None:
    """What each was evaluated at, the best as a full mark: over its value where all are numbers, else side by side."""
    measure = measure_of(arms)
    first = best(arms, measure)
    points = reached(arms, measure)
    if measure is None or first is None:
        return None
    numbers = [arm.number for arm, _ in points]
    places = [number for number in numbers if number is not None]
    plain = len(places) == len(points)
    if not plain:
        places = [float(index) for index in range(len(points))]
    log = plain and min(places) > 0 and max(places) >= 10 * min(places)
    x, y = around(places, log=log, margin=0.08), around((value for _, value in points), margin=0.15)
    ticks = sorted((place, arm.value) for place, (arm, _) in zip(places, points, strict=True))
    marks = sorted(zip(places, points, strict=True), key=lambda one: one[0])

    def draw(wide: bool) -> Markup:
        plot = Plot(_size(wide), x, y, f"{written}: {measure.label} of each variant, over {field}")
        plot.grid(ticks, y.ticks(measure.text if measure.form == "share" else _loss), _end(field), measure.label)
        line: list[Point] = [(place, value) for place, (_, value) in marks]
        if plain and len(line) > 1:
            plot.line(line, "before c0")
        for place, (arm, value) in marks:
            name = f"{arm.stage} ({arm.value}): {in_words(measure, arm)}"
            plot.dot(
                (place, value), "c0" if arm is first else "c0 open", f"{name}, {BEST}" if arm is first else name, 4.5
            )
        return plot.svg()

    return both(draw)


def _end(field: str) -> str:
    """The end of a field's name, as much as is drawn on a phone: what differs is there."""
    return field if len(field) <= MOST else f"…{field[1 - MOST :]}"


def _loss(value: float) -> str:
    return f"{value:.4g}"


def _size(wide: bool) -> Size:
    return Size(1120, 270, 56, 24) if wide else Size(360, 240, 48, 24)
