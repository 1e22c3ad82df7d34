"""YAML, the plain part of it: mappings, lists and scalars, with the line of everything.

libyaml's events are put together here instead of by PyYAML's composer, because this is where what specs may not contain
is refused: aliases and anchors (a number must stand where it is read), tags, duplicate keys, second documents, deep
nesting and huge files. Scalars stay text, so `2e-5` and `0.1` keep their exact value; only plain `true`, `false` and
`null` (YAML 1.2's core schema) are converted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from stages.errors import SpecError, Where
from stages.printable import CONTROL
from stages.spec import slips, wording

Path = tuple[str | int, ...]
Tree = Any  # dict[str, Tree] | list[Tree] | str | bool | None

MAX_BYTES = 250_000  # a hundred times the longest file that people have written; read and refused within a second
ANCHORED = "Remove it, and write the value out in each place that names it."
MAX_DEPTH = 32
_WORDS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_BLOCKS = frozenset({"|", ">"})  # styles of scalars that end in a line break
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Document:
    """A file's value and the place of each of its paths (of the key, for entries of mappings)."""

    value: Tree
    places: dict[Path, Where] = field(repr=False)

    def where(self, path: Path) -> Where:
        """The place of a path, or of the nearest thing around it that the file contains."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.places:
                return self.places[path[:end]]
        return Where("", 1)

    def error(self, path: Path, found: str, allowed: str, repair: str, invariant: str = "") -> SpecError:
        """An error about a path of this file, and the invariant that it enforces."""
        return SpecError(self.where(path), dotted(path), found, allowed, repair, invariant)


def dotted(path: Path) -> str:
    """A path as messages show it: phases.0.budget."""
    return ".".join(str(part) for part in path) or "the file"


def parse(data: bytes, file: str) -> Document:
    """Reads one file. Raises SpecError, and nothing else, whatever the bytes."""
    top = Where(file, 1)
    if len(data) > MAX_BYTES:
        raise SpecError(top, "the file", f"more than {MAX_BYTES:,} bytes", "no more", "Specs are for people: split it.")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SpecError(
            Where(file, line), "the file", f"byte {error.start} is not UTF-8", "UTF-8 text", "Save it as UTF-8."
        ) from None
    try:
        return _Composer(file, iter(yaml.parse(text, Loader=_LOADER))).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line if mark else 0
        line, found, repair = slips.cause(text, line, error.problem or "") or (line, *wording.of_yaml(error))
        raise SpecError(Where(file, line + 1), "YAML syntax", found, "YAML", repair) from None
    except yaml.YAMLError as error:
        position = getattr(error, "position", 0)
        where = Where(file, text.count("\n", 0, position) + 1)
        raise SpecError(where, "YAML syntax", "a control character", "text that can be printed", "Remove it.") from None


class _Composer:
    """Puts events together; recursion is bounded by MAX_DEPTH."""

    def __init__(self, file: str, events: Iterator[Any]) -> None:
        self.file, self.events = file, events
        self.places: dict[Path, Where] = {}

    def document(self) -> Document:
        next(self.events)  # StreamStart
        if isinstance(next(self.events), yaml.StreamEndEvent):
            self.fail(1, "an empty file", "a mapping", "Write the spec, or remove the file.")
        first = next(self.events)
        self.places[()] = self.where(first)
        value = self.value(first, (), 0)
        next(self.events)  # DocumentEnd
        after = next(self.events)
        if not isinstance(after, yaml.StreamEndEvent):
            self.fail(after.start_mark.line + 1, "a second document", "one document", "Put it into a file of its own.")
        if not isinstance(value, dict):
            self.fail(self.places[()].line, "no mapping", "a mapping of keys to values", "Write `key: value` lines.")
        return Document(value, self.places)

    def where(self, event: Any) -> Where:
        return Where(self.file, event.start_mark.line + 1)

    def fail(self, line: int, found: str, allowed: str, repair: str, key: str = "the file") -> None:
        raise SpecError(Where(self.file, line), key, found, allowed, repair)

    def value(self, event: Any, path: Path, depth: int) -> Tree:
        line = event.start_mark.line + 1
        if depth > MAX_DEPTH:
            self.fail(line, f"nesting deeper than {MAX_DEPTH}", f"up to {MAX_DEPTH}", "Flatten it.", dotted(path[:4]))
        if isinstance(event, yaml.AliasEvent):
            self.fail(line, f"the alias *{event.anchor}", "plain values", "Write the value out.", dotted(path))
        if event.anchor is not None:
            self.fail(line, f"the anchor &{event.anchor}", "plain values", ANCHORED, dotted(path))
        if event.tag is not None:
            self.fail(line, f"the tag {event.tag}", "untagged values", "Remove the tag.", dotted(path))
        if isinstance(event, yaml.ScalarEvent):
            return self.scalar(event, path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self.sequence(path, depth)
        return self.mapping(path, depth)

    def scalar(self, event: Any, path: Path) -> str | bool | None:
        """The value of a scalar: quoted ones are text, plain ones may be null, true or false; none has controls."""
        text: str = event.value.rstrip("\n") if event.style in _BLOCKS else event.value
        if found := CONTROL.search(text):
            line = event.start_mark.line + 1
            repair = "Write it on one line, or fold it with `>-`." if found[0] == "\n" else "Remove the character."
            self.fail(line, f"the control character {found[0]!r}", "text that can be printed", repair, dotted(path))
        if not event.implicit[0]:
            return text
        if text in _NULLS:
            return None
        return _WORDS.get(text, text)

    def sequence(self, path: Path, depth: int) -> list[Tree]:
        items: list[Tree] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            here = (*path, len(items))
            self.places[here] = self.where(event)
            items.append(self.value(event, here, depth + 1))
        return items

    def mapping(self, path: Path, depth: int) -> dict[str, Tree]:
        entries: dict[str, Tree] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            line = event.start_mark.line + 1
            if not isinstance(event, yaml.ScalarEvent) or event.anchor or event.tag or not event.value:
                self.fail(line, "a key that is no plain word", "words as keys", "Rename the key.", dotted(path))
            key = event.value
            if CONTROL.search(key):
                self.fail(line, f"the key {key!r}", "keys without control characters", "Rename the key.", dotted(path))
            if key == "<<":
                self.fail(line, "the merge key <<", "plain keys", "Write the values out.", dotted(path))
            here = (*path, key)
            if key in entries:
                first = self.places[here].line
                self.fail(
                    line, f"the key a second time (first in line {first})", "each key once", "Remove one.", dotted(here)
                )
            self.places[here] = self.where(event)
            entries[key] = self.value(next(self.events), here, depth + 1)
        return entries
