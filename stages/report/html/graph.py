"""The pipeline's graph: its stages by what they are built on, coloured and named by their state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from statistics import fmean

from markupsafe import Markup

from stages.report.html.svg import drawing, element
from stages.report.html.views import View
from stages.report.number_format import count, lengths

Place = tuple[int, float]  # how far from the beginning, and which lane of those next to it
LETTER = 7.1  # pixels of a letter of a stage's name
LINE = 13.0  # pixels from one line of a stage to the next
LINES = 3  # of a name at most
EDGE = 1.0  # pixels next to the first and the last stage, for their frames
FIT = 96.0  # pixels from one stage to the next one beside it at least: its budget and context fit


@dataclass(frozen=True)
class Paper:
    """How places become pixels: left to right on a wide screen, top to bottom on a phone."""

    wide: bool
    width: float
    deep: int
    across: float
    names: Sequence[str]

    @property
    def node(self) -> tuple[float, float]:
        """Width and height of a stage: below the longest name its state and its budget fit."""
        more = LINE * max(0, max(map(len, self.lines.values()), default=0) - 2)
        return self._node_width, (74.0 if self.wide else 62.0) + more

    @property
    def _node_width(self) -> float:
        return min(self.width / self.deep - 16, 170.0) if self.wide else min(self.width / self.across - 8, 200.0)

    @property
    def pitch(self) -> float:
        """From the upper edge of a stage to that of the next one below it."""
        return self.node[1] + (14.0 if self.wide else 18.0)

    @cached_property
    def lines(self) -> dict[str, list[str]]:
        """Each name in lines that fit into a stage."""
        most = max(6, int((self._node_width - 13) / LETTER))
        return {name: wrapped(name, most)[:LINES] for name in self.names}

    @property
    def height(self) -> float:
        """Of the whole graph."""
        return (self.across if self.wide else self.deep) * self.pitch

    def corner(self, place: Place) -> tuple[float, float]:
        """The upper left corner of a place."""
        depth, lane = place
        if self.wide:
            span = self.width - self.node[0] - 2 * EDGE
            return EDGE + depth * span / max(self.deep - 1, 1), lane * self.pitch + 6
        span = self.width / self.across
        return lane * span + (span - self.node[0]) / 2, depth * self.pitch + 2

    def way(self, places: Sequence[Place]) -> Markup:
        """An edge from the end of the first place to the begin of the last, straight through those between."""
        (width, height), path = self.node, ""
        for number, (here, there) in enumerate(pairwise(places)):
            (x0, y0), (x1, y1) = self.corner(here), self.corner(there)
            if self.wide:
                x0, y0, y1 = x0 + width, y0 + height / 2, y1 + height / 2
                bend = f"C{(x0 + x1) / 2:.1f} {y0:.1f} {(x0 + x1) / 2:.1f} {y1:.1f} {x1:.1f} {y1:.1f}"
            else:
                x0, y0, x1 = x0 + width / 2, y0 + height, x1 + width / 2
                bend = f"C{x0:.1f} {(y0 + y1) / 2:.1f} {x1:.1f} {(y0 + y1) / 2:.1f} {x1:.1f} {y1:.1f}"
            path += f"{'L' if number else 'M'}{x0:.1f} {y0:.1f}{bend}"
        return element("path", d=path, cls="edge")


def draw(views: Sequence[View], wide: bool, linked: str = "") -> Markup:
    """The graph; each stage leads to its place on the page `linked`."""
    known = {view.ref: view for view in views}
    depth = _depths(known)
    ways = [
        _way(parent, name, depth) for name, view in known.items() for parent in view.stage.parents if parent in depth
    ]
    lanes = _lanes(known, depth, ways)
    across = max(lanes.values(), default=0.0) + 1
    names = [_numbered(view) for view in views]
    deep = max(depth.values(), default=0) + 1
    window, least = (1120, FIT * deep) if wide else (360, FIT * across)
    paper = Paper(wide, max(window, least), deep, across, names)
    parts = [paper.way([(level, lanes[name, level]) for name, level in way]) for way in ways]
    parts += [_node(view, paper, paper.corner((depth[name], lanes[name, depth[name]])), linked)
              for name, view in known.items()]  # fmt: skip
    states = ", ".join(f"{view.stage.name} {view.verdict.state}" for view in views)
    drawn = drawing(paper.width, paper.height, f"The stages and what they are built on: {states}", parts)
    return drawn if least <= window else _scrolled(drawn, paper.width)


def _scrolled(drawn: Markup, width: float) -> Markup:
    """A drawing that is wider than its window, in its own size."""
    inner = element("div", drawn, style=f"width:{width:g}px")
    return element("div", inner, cls="scroll", tabindex="0", role="group", aria_label="The stages, from side to side")


Spot = tuple[str, int]  # a stage, or an edge on its way past a level: its name and the level


def _depths(known: Mapping[str, View]) -> dict[str, int]:
    """The longest way from a stage without parents; parents come first in `known`."""
    depth: dict[str, int] = {}
    for name, view in known.items():
        depth[name] = max((depth[parent] + 1 for parent in view.stage.parents if parent in depth), default=0)
    return depth


def _way(parent: str, child: str, depth: Mapping[str, int]) -> list[Spot]:
    """An edge's spots: both ends, and one at every level between, so that it does not run behind another stage."""
    between = [(f"{parent}>{child}", level) for level in range(depth[parent] + 1, depth[child])]
    return [(parent, depth[parent]), *between, (child, depth[child])]


def _lanes(known: Mapping[str, View], depth: Mapping[str, int], ways: Sequence[Sequence[Spot]]) -> dict[Spot, float]:
    """Each spot next to what leads to it, where no other is."""
    above: dict[Spot, list[Spot]] = {(name, depth[name]): [] for name in known}
    for way in ways:
        for spot, following in pairwise(way):
            above.setdefault(following, []).append(spot)
    lanes: dict[Spot, float] = {}
    for level in range(max(depth.values(), default=0) + 1):
        here = [spot for spot in above if spot[1] == level]
        wanted = {spot: fmean([lanes[one] for one in above[spot]] or [0.0]) for spot in here}
        taken = -1.0
        for spot in sorted(here, key=lambda spot: wanted[spot]):
            lanes[spot] = taken = max(wanted[spot], taken + 1)
    return lanes


def _numbered(view: View) -> str:
    return f"{view.number} {view.stage.name}"


def _node(view: View, paper: Paper, at: tuple[float, float], linked: str) -> Markup:
    (x, y), (width, height) = at, paper.node
    state, stage = view.verdict.state, view.stage
    contexts = lengths(stage)
    made = f"{count(stage.budget)} · {contexts[-1]}" if contexts else stage.kind
    lines = paper.lines[_numbered(view)]
    words = [element("text", line, x=x + 9, y=y + 15 + LINE * row, cls="node") for row, line in enumerate(lines)]
    words += [
        element("text", line, x=x + 9, y=y + height - 7 - LINE * row, cls="small")
        for row, line in enumerate((made, state))
    ]
    why = f": {view.verdict.why}" if view.verdict.why else ""
    return element(
        "a",
        element("title", f"{view.ref}, {stage.box}, {state}{why}"),
        element("rect", x=x, y=y, width=width, height=height, rx=6.0, cls=f"box {state}"),
        element("rect", x=x, y=y, width=4.0, height=height, rx=2.0, cls=f"stripe {state}"),
        *words,
        href=f"{linked}#{view.anchor}",
    )


def wrapped(name: str, most: int) -> list[str]:
    """A name in lines of at most `most` letters, broken behind blanks and underscores where it can be."""
    pieces = name.replace("_", "_\0").replace(" ", " \0").split("\0")
    lines = [""]
    for piece in pieces:
        if lines[-1] and len(lines[-1]) + len(piece.rstrip()) > most:
            lines.append("")
        lines[-1] += piece
    return [line.strip() for line in lines]
