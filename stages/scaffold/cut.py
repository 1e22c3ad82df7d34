"""Text of a YAML file without some of its entries: everything else stays as it was written, comments too."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import yaml

from stages.spec import nodes
from stages.spec.nodes import Document, Path

MAX_WIDTH = 10_000  # of a line that is written again: it is not broken
Dropped = Callable[[Path], bool]


def cut(text: str, path: Path, dropped: Dropped) -> str:
    """The text without the dropped entries of the mapping or list at `path`, and without the comments right above them.

    Where none is left, what has them goes too. A path that is not there has none. Of a mapping in one line the others
    are written again. Raises SpecError where entries share lines otherwise.
    """
    document = nodes.parse(text.encode(), "text")
    entries = [place for place in document.places if len(place) == len(path) + 1 and place[:-1] == path]
    gone = [entry for entry in entries if dropped(entry)]
    if not gone:
        return text
    lines = text.splitlines(keepends=True)
    if _share_a_line(document, entries):
        return _in_one_line(document, lines, path, gone)
    if len(gone) == len(entries):
        first, last = _span(document, lines, path)
        return "".join(lines[:first] + lines[last:])
    spans = [_span(document, lines, entry) for entry in gone]
    return "".join(line for number, line in enumerate(lines) if not any(a <= number < b for a, b in spans))


def _share_a_line(document: Document, entries: list[Path]) -> bool:
    lines = [document.places[entry].line for entry in entries]
    return any(second <= first for first, second in pairwise(lines))


def _in_one_line(document: Document, lines: list[str], path: Path, gone: list[Path]) -> str:
    """The text with a mapping at the top of the file, all of it in one line, written without some of its entries."""
    first, last = _span(document, lines, path)
    number = document.places[path].line - 1
    if len(path) > 1 or any(line.strip() for line in lines[number + 1 : last]):
        raise document.error(path, "entries that share lines", "one entry a line, or all in one", "Write them so.")
    kept = {key: value for key, value in document.value[path[0]].items() if (*path, key) not in gone}
    flow = yaml.safe_dump(kept, default_flow_style=True, sort_keys=False, width=MAX_WIDTH).strip()
    whole = [f"{path[0]}: {flow}\n"] if kept else []
    return "".join([*lines[: number if kept else first], *whole, *lines[number + 1 :]])


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
