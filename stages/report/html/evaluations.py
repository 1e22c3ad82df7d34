"""Pictures of evaluations: loss by position, needles by depth and length, loss by number of loops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from markupsafe import Markup
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from stages.report.html.svg import Axis, Plot, Size, around
from stages.report.html.views import View
from stages.report.number_format import length

Loss = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Positions = Annotated[int, Field(ge=0, lt=2**53)]
M = TypeVar("M")


class _Read(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Bucket(_Read):
    """Mean loss of the positions from `from_` to `to`."""

    from_: Annotated[Positions, Field(alias="from")]
    to: Positions
    loss: Loss


class Needle(_Read):
    """Needles at a depth (0 to 1) of texts of a length: the share that was found."""

    depth: Share
    length: Positions
    accuracy: Share
    rows: Positions = 0


_BUCKETS, _NEEDLES = TypeAdapter(list[Bucket]), TypeAdapter(list[Needle])


def read(side: Mapping[str, Any], evaluation: str, part: str, what: TypeAdapter[list[M]]) -> list[M]:
    """A list inside one evaluation; empty where it is not there or is not what this version writes."""
    found = side.get(evaluation)
    try:
        return what.validate_python(found[part]) if isinstance(found, dict) and part in found else []
    except ValidationError:
        return []


@dataclass(frozen=True)
class Small:
    """One of several small pictures or tables: the stage that it is of, its drawing, a line on it."""

    view: View
    drawing: Markup
    note: str = ""


SMALL = Size(350, 210, 44, 22)


def by_position(views: Sequence[View]) -> list[Small]:
    """Held-out loss over the position in the context, before a stage and after it."""
    found = []
    for view in views:
        both = {side: read(getattr(view, side), "positions", "buckets", _BUCKETS) for side in ("before", "after")}
        if not both["after"]:
            continue
        ends = [one.to for buckets in both.values() for one in buckets if one.to > 0]
        y = around((one.loss for buckets in both.values() for one in buckets), margin=0.15)
        starts = [max(one.from_, one.to / 2, 1.0) for buckets in both.values() for one in buckets]
        x = Axis(min(starts), max(ends), True)
        plot = Plot(SMALL, x, y, f"{view.ref}: loss by position, before and after")
        ticks = [(float(to), length(to)) for to in sorted(set(ends))]
        plot.grid(ticks, y.ticks(lambda value: f"{value:.3g}", 4), "position in the context", "held-out loss")
        old = view.stage.evaluation.old_context
        if old is not None and x.low < old < x.high:
            plot.upright(old, "border old")
        for side, cls in (("before", "before c0"), ("after", "mean c0")):
            points = [((max(one.from_, x.low) * one.to) ** 0.5, one.loss) for one in both[side] if one.to > 0]
            plot.line(points, cls, f"{side} the stage")
            for point, one in zip(points, both[side], strict=False):
                open_ = " open" if side == "before" else ""
                plot.dot(point, f"c0{open_}", f"{side}: positions {one.from_:,} to {one.to:,}, loss {one.loss:.3f}", 3)
        beyond = "" if old is None else f"the dotted line is the parent's context, {length(old)}"
        found.append(Small(view, plot.svg(), beyond))
    return found


@dataclass(frozen=True)
class Grid:
    """Needles of one stage: rows are depths, columns lengths; a cell is the share found, before and after."""

    view: View
    lengths: list[str]
    rows: list[tuple[str, list[tuple[float | None, float | None]]]]
    before: float | None
    after: float | None
    chance: float | None
    tried: int


def needles(views: Sequence[View]) -> list[Grid]:
    """The grids of all stages that looked for needles."""
    found = []
    for view in views:
        after = {(one.depth, one.length): one for one in read(view.after, "needle", "grid", _NEEDLES)}
        before = {(one.depth, one.length): one for one in read(view.before, "needle", "grid", _NEEDLES)}
        if not after:
            continue
        lengths = sorted({size for _, size in (*after, *before)})
        rows = [
            (f"{depth:.0%}", [(_share(before, depth, size), _share(after, depth, size)) for size in lengths])
            for depth in sorted({depth for depth, _ in (*after, *before)})
        ]
        figures = view.figures("after")
        found.append(
            Grid(
                view, [length(size) for size in lengths], rows, view.figures("before").get("needle.accuracy"),
                figures.get("needle.accuracy"), figures.get("needle.chance"), sum(one.rows for one in after.values()),
            )
        )  # fmt: skip
    return found


def _share(side: Mapping[tuple[float, int], Needle], depth: float, size: int) -> float | None:
    return side[depth, size].accuracy if (depth, size) in side else None


def by_loops(views: Sequence[View]) -> list[Small]:
    """Held-out loss of a looped model by the loop that it leaves at, before a stage and after it."""
    found = []
    for view in views:
        both = {side: _loops(view, side) for side in ("before", "after")}
        if not both["after"]:
            continue
        x = Axis(1, max(number for points in both.values() for number, _ in points))
        y = around((value for points in both.values() for _, value in points), margin=0.15)
        plot = Plot(SMALL, x, y, f"{view.ref}: loss by number of loops, before and after")
        ticks = [(float(number), str(number)) for number in range(1, int(x.high) + 1)]
        plot.grid(ticks, y.ticks(lambda value: f"{value:.4g}", 4), "loops", "held-out loss")
        for side, cls in (("before", "before c0"), ("after", "mean c0")):
            plot.line(both[side], cls, f"{side} the stage")
            for number, value in both[side]:
                open_ = " open" if side == "before" else ""
                plot.dot((number, value), f"c0{open_}", f"{side}: {number:g} loops, loss {value:.3f}", 3)
        found.append(Small(view, plot.svg()))
    return found


def _loops(view: View, side: str) -> list[tuple[float, float]]:
    """(number of loops, held-out loss), by number."""
    named = {name.removeprefix("loops."): value for name, value in view.figures(side).items()}
    return sorted((float(name), value) for name, value in named.items() if name.isdecimal())
