"""The entries of a YAML text with their places in it, so that one of them can be edited and the rest stays as it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import yaml

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Entry:
    """An entry of a mapping or an item of a list.

    Offsets are of characters: `begin` is where the entry starts (its key, or the item itself), `start` and `end` bound
    the value, `follows` is where the next entry beside it starts (None for the last). Lines count from 1. `text` is the
    value of a scalar, None for mappings and lists. `around` are the lines of the mapping or list that holds the entry.
    """

    path: Path
    begin: int
    start: int
    end: int
    text: str | None
    plain: bool
    flow: bool
    item: bool
    first: bool
    follows: int | None
    line: int
    last_line: int
    around: tuple[int, int]


def entries(text: str) -> list[Entry]:
    """Every entry of a document, outer before inner, in the order of the text."""
    node = yaml.compose(text, Loader=yaml.CSafeLoader)
    return list(_below(node, ())) if node is not None else []


def _below(node: yaml.Node, path: Path) -> Iterator[Entry]:
    if isinstance(node, yaml.MappingNode):
        pairs = [(key.value, key, value) for key, value in node.value]
    elif isinstance(node, yaml.SequenceNode):
        pairs = [(index, value, value) for index, value in enumerate(node.value)]
    else:
        return
    around = (_line(node), _last_line(node))
    starts = [begin.start_mark.index for _, begin, _ in pairs]
    for number, (name, begin, value) in enumerate(pairs):
        scalar = isinstance(value, yaml.ScalarNode)
        yield Entry(
            path=(*path, name),
            begin=begin.start_mark.index,
            start=value.start_mark.index,
            end=value.end_mark.index,
            text=value.value if scalar else None,
            plain=scalar and not value.style,
            flow=bool(node.flow_style),
            item=isinstance(node, yaml.SequenceNode),
            first=number == 0,
            follows=starts[number + 1] if number + 1 < len(starts) else None,
            line=_line(begin),
            last_line=_last_line(value),
            around=around,
        )
        yield from _below(value, (*path, name))


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _last_line(node: yaml.Node) -> int:
    """The last line with something of the node on it: libyaml ends a block only where the next token starts."""
    if not isinstance(node, yaml.CollectionNode) or node.flow_style or not node.value:
        inside = isinstance(node, yaml.ScalarNode) and node.style in ("|", ">")
        return int(node.end_mark.line) + (0 if inside else 1)
    last = node.value[-1]
    return _last_line(last[1] if isinstance(node, yaml.MappingNode) else last)


def without(text: str, entry: Entry) -> str:
    """The text without an entry."""
    if entry.flow:
        if entry.follows is not None:
            return text[: entry.begin] + text[entry.follows :]
        before = text[: entry.begin].rstrip()
        return before.removesuffix(",") + text[entry.end :]
    if not entry.item and text[_line_start(text, entry.begin) : entry.begin].strip() and entry.follows is not None:
        return text[: entry.begin] + text[entry.follows :]  # the first key after a dash
    lines = text.splitlines(keepends=True)
    return "".join(lines[: entry.line - 1] + lines[entry.last_line :])


def twice(text: str, entry: Entry) -> str:
    """The text with an entry repeated right after itself."""
    if entry.flow:
        return f"{text[: entry.end]}, {text[entry.begin : entry.end]}{text[entry.end :]}"
    lines = text.splitlines(keepends=True)
    again = lines[entry.line - 1 : entry.last_line]
    if not entry.item:
        column = entry.begin - _line_start(text, entry.begin)
        again = [" " * column + again[0][column:], *again[1:]]
    return "".join(lines[: entry.last_line] + again + lines[entry.last_line :])


def _line_start(text: str, offset: int) -> int:
    return text.rfind("\n", 0, offset) + 1
