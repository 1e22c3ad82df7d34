"""Text of a YAML file without some of its entries: everything else stays as it was written, comments too."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from stages.spec import nodes
from stages.spec.nodes import Document, Path

Dropped = Callable[[Path], bool]


def cut(text: str, path: Path, dropped: Dropped) -> str:
    """The text without the dropped entries of the mapping or list at `path`, and without the comments right above them.

    Where none is left, what holds them goes too. A path that is not there has none. Raises ValueError where entries
    share a line.
    """
    document = nodes.parse(text.encode(), "text")
    entries = _entries(document, path)
    gone = [entry for entry in entries if dropped(entry)]
    if not gone:
        return text
    lines = text.splitlines(keepends=True)
    if len(gone) == len(entries) and path:
        first, last = _span(document, lines, path)
        return "".join(lines[:first] + lines[last:])
    spans = [_span(document, lines, entry) for entry in gone]
    return "".join(line for number, line in enumerate(lines) if not any(a <= number < b for a, b in spans))


def _entries(document: Document, path: Path) -> list[Path]:
    """The paths right below another, in the order of the file."""
    found = [place for place in document.places if len(place) == len(path) + 1 and place[:-1] == path]
    lines = [document.places[place].line for place in found]
    if any(second <= first for first, second in pairwise(lines)):
        raise ValueError(f"{nodes.dotted(path)}: entries share a line, so none can be cut out")
    return found


def _span(document: Document, lines: list[str], path: Path) -> tuple[int, int]:
    """First line and the line after the last of an entry, counted from 0, with the comments right above it."""
    start = document.places[path].line - 1
    after = [where.line - 1 for place, where in document.places.items() if place[: len(path)] != path]
    end = min((line for line in after if line > start), default=len(lines))
    return _above(lines, start), _above(lines, end) if end < len(lines) else end


def _above(lines: list[str], line: int) -> int:
    """The first of the comments that end right above a line."""
    while line > 0 and lines[line - 1].lstrip().startswith("#"):
        line -= 1
    return line
