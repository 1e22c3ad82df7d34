"""The pictures over a lineage: loss with evaluations at the hand-overs, learning rate, and what an objective adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from markupsafe import Markup

from stages.report.columns import Column
from stages.report.hand_overs import hand_overs, planned
from stages.report.headlines import VALIDATION
from stages.report.html.lineage import colour, curve, frame, smoothed, spread
from stages.report.html.svg import Axis, around, both
from stages.report.html.views import View
from stages.report.number_format import rate

Others = Mapping[str, Mapping[str, pd.DataFrame]]  # scale -> ref -> metrics of the same stage with another seed
SEVERAL = 6.0  # highest over lowest loss from which the axis is logarithmic


def figure(value: float) -> str:
    """A loss on an axis."""
    return f"{value:.3g}"


def loss(laid: Sequence[Column], views: Mapping[str, View], others: Others) -> Markup | None:
    """Training loss of all steps, its running mean, other seeds' means, and held-out loss at both ends of each stage.

    None where no stage of the row has a step.
    """
    shown = [column for column in laid if views[column.stage.ref].metrics is not None]
    if not shown:
        return None
    numbers = {name: view.number for name, view in views.items()}

    def draw(wide: bool) -> Markup:
        points = 240 if wide else 90
        curves = [(column, curve(_metrics(views, column), "loss", points)) for column in shown]
        heldout = [mark for column in laid for mark in _held_out(column, views[column.stage.ref])]
        values = [value for _, one in curves if one for value in (*one.low, *one.high)] + [mark[1] for mark in heldout]
        low, high = min(values), max(values)
        axis = around(values, log=low > 0 and high / low > SEVERAL)
        plot = frame(laid, numbers, axis, figure, "loss, training and held-out", wide)
        for column, one in curves:
            if one is None:
                continue
            plot.area(spread(column, one.at, one.low), spread(column, one.at, one.high), f"range {colour(column)}")
            plot.line(spread(column, one.at, one.mean), f"steps {colour(column)}")
        for frames in others.values():
            for column in shown:
                if column.stage.ref in frames and (one := curve(frames[column.stage.ref], "loss", points)):
                    plot.line(spread(column, one.at, smoothed(one.mean)), f"seed {colour(column)}")
        for column, one in curves:
            if one is not None:
                mean = smoothed(one.mean)
                title = f"{column.stage.ref}: mean loss {mean[0]:.3f} → {mean[-1]:.3f}"
                plot.line(spread(column, one.at, mean), f"mean {colour(column)}{_dashed(column)}", title)
        for x, value, title, cls in heldout:
            plot.diamond((x, value), cls, title, 5 if wide else 4)
        return plot.svg()

    return both(draw)


def _dashed(column: Column) -> str:
    """The second branch lies on top of the first one, which shows between its dashes."""
    return " branch" if column.branch % 2 else ""


def _metrics(views: Mapping[str, View], column: Column) -> pd.DataFrame:
    found = views[column.stage.ref].metrics
    if found is None:
        raise ValueError(f"{column.stage.ref} has no metrics")
    return found


def _held_out(column: Column, view: View) -> list[tuple[float, float, str, str]]:
    """(place, loss, words, class) of what was held out, before the stage (open) and after it (full)."""
    found, ends = [], {"before": column.left, "after": column.right}
    for side, x in ends.items():
        value = view.figures(side).get(VALIDATION.name)
        if value is not None:
            open_ = " open" if side == "before" else ""
            inside = 0.002 if side == "before" else -0.002  # both sides of a hand-over can be seen
            title = f"{view.ref}: held-out loss {side} the stage {value:.3f}"
            found.append((x + inside, value, title, f"{colour(column)}{open_}"))
    return found


def learning_rate(laid: Sequence[Column], views: Mapping[str, View]) -> Markup:
    """The rate that the specs say, and the steps that were made with it."""
    numbers = {name: view.number for name, view in views.items()}
    scheduled = {column.stage.ref: [*zip(*planned(column, 60), strict=True)] for column in laid}
    positive = [float(y) for points in scheduled.values() for _, y in points if y > 0]
    peak = max(positive, default=1.0)
    low = max(min(positive, default=0.1), peak / 300)
    axis = Axis(low / 1.3, peak * 1.25, True)

    def draw(wide: bool) -> Markup:
        plot = frame(laid, numbers, axis, rate, "learning rate", wide, 250)
        for column in laid:
            plot.line(scheduled[column.stage.ref], f"mean {colour(column)}{_dashed(column)}")
        for column in laid:
            metrics = views[column.stage.ref].metrics
            if metrics is not None:
                chosen = metrics.iloc[np.unique(np.linspace(0, len(metrics) - 1, 14 if wide else 5).astype(int))]
                for point in spread(column, chosen["consumed"].tolist(), chosen["lr"].tolist()):
                    plot.dot(point, "step", radius=2)
        for edge in hand_overs(laid, {view.ref: view.stage for view in views.values()}):
            jump = " open" if edge.jumps else ""
            title = f"hand-over: learning rate {rate(edge.left)} → {rate(edge.right)}"
            for level in dict.fromkeys((edge.left, edge.right)):
                plot.dot((edge.x, level), f"ink{jump}", title, 3.6 if wide else 3)
        return plot.svg()

    return both(draw)


def several(laid: Sequence[Column], views: Mapping[str, View], names: Sequence[str], what: str) -> Markup | None:
    """Several columns of metrics.csv in one picture, a colour each; None where no stage has one of them."""
    drawn = [
        (column, number, one)
        for column in laid
        if (metrics := views[column.stage.ref].metrics) is not None
        for number, name in enumerate(names)
        if (one := curve(metrics, name, 240)) is not None
    ]
    if not drawn:
        return None
    axis = around(value for _, _, one in drawn for value in smoothed(one.mean))
    numbers = {name: view.number for name, view in views.items()}

    def draw(wide: bool) -> Markup:
        plot = frame(laid, numbers, axis, figure, what, wide, 240)
        for column, number, one in drawn:
            title = f"{column.stage.ref}: {names[number]}"
            plot.line(spread(column, one.at, smoothed(one.mean)), f"mean s{number % 8}{_dashed(column)}", title)
        return plot.svg()

    return both(draw)
