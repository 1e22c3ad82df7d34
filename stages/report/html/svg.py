"""Plots as inline SVG whose colours are the page's CSS variables, so that they follow dark and light.

Every text goes through markupsafe: names and messages come from files that others may have written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

Point = tuple[float, float]
Ticks = Sequence[tuple[float, str]]


def element(name: str, *children: Markup | str, **attributes: str | float) -> Markup:
    """An element; `cls` is its class, and underscores of other attributes are hyphens. Texts and values are escaped."""
    words = [name]
    for key, value in attributes.items():
        text = f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
        words.append(f'{"class" if key == "cls" else key.replace("_", "-")}="{escape(text)}"')
    return Markup(f"<{' '.join(words)}>{''.join(escape(child) for child in children)}</{name}>")


@dataclass(frozen=True)
class Size:
    """Of a drawing, in CSS pixels: the whole, and the margins around the axes."""

    width: float
    height: float
    left: float
    top: float
    right: float = 10
    bottom: float = 30


@dataclass(frozen=True)
class Axis:
    """A range of values; `log` needs both ends above zero."""

    low: float
    high: float
    log: bool = False

    def share(self, value: float) -> float:
        """Where a value lies, 0 at the low end and 1 at the high one; values beyond an end lie at it."""
        if self.log:
            value = max(value, self.low)
            found = math.log(value / self.low) / (math.log(self.high / self.low) or 1)
        else:
            found = (value - self.low) / ((self.high - self.low) or 1)
        return min(max(found, 0.0), 1.0)

    def ticks(self, label: Callable[[float], str], about: int = 6) -> Ticks:
        """Round values between the ends, with their texts."""
        return [(value, label(value)) for value in (_log_ticks(self) if self.log else _ticks(self, about))]


def _ticks(axis: Axis, about: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten."""
    raw = (axis.high - axis.low) / about or 1.0
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= raw * (1 - 1e-9))
    first = math.ceil(axis.low / step - 1e-9)
    return [number * step for number in range(first, math.floor(axis.high / step + 1e-9) + 1)]


def _log_ticks(axis: Axis) -> list[float]:
    """Powers of ten, and between them more round values the fewer powers there are."""
    decades = math.log10(axis.high / axis.low)
    choices: list[tuple[float, tuple[float, ...]]] = [(3, (1,)), (1.5, (1, 3)), (0.9, (1, 2, 3, 5))]
    factors = next((factors for most, factors in choices if decades > most), (1, 1.5, 2, 3, 4, 5, 7))
    exponents = range(math.floor(math.log10(axis.low)), math.ceil(math.log10(axis.high)) + 1)
    found = [factor * 10.0**exponent for exponent in exponents for factor in factors]
    return [value for value in found if axis.low * (1 - 1e-9) <= value <= axis.high * (1 + 1e-9)]


def around(values: Iterable[float], log: bool = False, margin: float = 0.05) -> Axis:
    """An axis that has all finite values, with a margin at both ends."""
    finite = [value for value in values if math.isfinite(value) and (value > 0 or not log)]
    low, high = min(finite, default=0.1 if log else 0.0), max(finite, default=1.0)
    if log:
        factor = (high / low) ** margin if high > low else 1.2
        return Axis(low / factor, high * factor, True)
    pad = (high - low) * margin or abs(high) * 0.1 or 1.0
    return Axis(low - pad, high + pad)


class Plot:
    """A drawing with two axes. What is added first lies below; positions are values of the axes."""

    def __init__(self, size: Size, x: Axis, y: Axis, label: str) -> None:
        self.size, self.x_axis, self.y_axis, self.label = size, x, y, label
        self._parts: list[Markup] = []

    def x(self, value: float) -> float:
        """The pixel of a value on the horizontal axis."""
        width = self.size.width - self.size.left - self.size.right
        return self.size.left + width * self.x_axis.share(value)

    def y(self, value: float) -> float:
        """The pixel of a value on the vertical axis."""
        height = self.size.height - self.size.top - self.size.bottom
        return self.size.height - self.size.bottom - height * self.y_axis.share(value)

    def add(self, *parts: Markup) -> None:
        """Elements made elsewhere."""
        self._parts += parts

    def text(self, x: float, y: float, words: str, **attributes: str | float) -> None:
        """A text at a pixel."""
        self.add(element("text", words, x=x, y=y, **attributes))

    def line(self, points: Sequence[Point], cls: str, title: str = "") -> None:
        """A line through points; one point is a dot."""
        if len(points) == 1:
            self.dot(points[0], cls, title)
        elif points:
            path = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
            self.add(element("polyline", *_title(title), points=path, cls=cls))

    def area(self, lower: Sequence[Point], upper: Sequence[Point], cls: str) -> None:
        """What lies between two lines."""
        path = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in [*lower, *reversed(upper)])
        self.add(element("polygon", points=path, cls=cls))

    def dot(self, at: Point, cls: str, title: str = "", radius: float = 3.5) -> None:
        """A round mark."""
        self.add(element("circle", *_title(title), cx=self.x(at[0]), cy=self.y(at[1]), r=radius, cls=f"dot {cls}"))

    def diamond(self, at: Point, cls: str, title: str, radius: float) -> None:
        """A mark that differs from dots by its shape."""
        x, y = self.x(at[0]), self.y(at[1])
        corners = f"{x:.1f},{y - radius:.1f} {x + radius:.1f},{y:.1f} {x:.1f},{y + radius:.1f} {x - radius:.1f},{y:.1f}"
        self.add(element("polygon", *_title(title), points=corners, cls=f"dot {cls}"))

    def upright(self, x: float, cls: str) -> None:
        """A vertical line over the whole height."""
        at = self.x(x)
        self.add(element("line", x1=at, x2=at, y1=self.size.top, y2=self.size.height - self.size.bottom, cls=cls))

    def grid(self, x: Ticks, y: Ticks, x_title: str, y_title: str) -> None:
        """Ticks of both axes and what they are; vertical ones that would run into each other are left out."""
        bottom, end = self.size.height - self.size.bottom, self.size.width - self.size.right
        for value, text in y:
            at = self.y(value)
            self.add(element("line", x1=self.size.left, x2=end, y1=at, y2=at, cls="grid"))
            self.text(self.size.left - 5, at + 3.5, text, text_anchor="end", cls="tick")
        taken = -math.inf
        for value, text in x:
            at, half = self.x(value), 3.3 * len(text)
            if at - half < taken and value != x[-1][0]:
                continue
            anchor, at_text = ("end", min(at + half, end + 4)) if at + half > end else ("middle", at)
            if (at_text - 2 * half if anchor == "end" else at - half) < taken:
                continue
            self.add(element("line", x1=at, x2=at, y1=bottom, y2=bottom + 4, cls="axis"))
            self.text(at_text, bottom + 15, text, text_anchor=anchor, cls="tick")
            taken = at + half + 6
        self.add(element("line", x1=self.size.left, x2=end, y1=bottom, y2=bottom, cls="axis"))
        self.text((self.size.left + end) / 2, self.size.height - 2, x_title, text_anchor="middle", cls="name")
        if y_title:
            self.text(2, max(self.size.top - 8, 9), y_title, cls="name")

    def svg(self) -> Markup:
        """The drawing; readers that cannot see it get its label."""
        return drawing(self.size.width, self.size.height, self.label, self._parts)


def drawing(width: float, height: float, label: str, parts: Iterable[Markup]) -> Markup:
    """An SVG of a size in CSS pixels, which shrinks with its column and never grows beyond its size."""
    return element(
        "svg", element("title", label), *parts, viewBox=f"0 0 {width:g} {height:g}", role="img",
        style=f"max-width:{width:g}px", aria_label=label,
    )  # fmt: skip


def both(draw: Callable[[bool], Markup]) -> Markup:
    """A drawing for a wide screen and one for a phone, of which CSS shows the one that fits: text keeps its size."""
    return Markup(f'<div class="wide">{draw(True)}</div><div class="narrow">{draw(False)}</div>')


def _title(text: str) -> tuple[Markup, ...]:
    return (element("title", text),) if text else ()
