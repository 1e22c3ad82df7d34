"""YAML and JSON of a stranger as leaves with lines. Aliases are allowed and bounded, tags are not followed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from stages.audit.readers.text import refuse
from stages.audit.recipe import LONGEST, Read, Scalar, Value, scalar
from stages.errors import Where
from stages.printable import printable

Path = tuple[str | int, ...]
MAX_DEPTH = 40
MAX_LEAVES = 60_000  # aliases count every time: a bomb ends here
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULLS = frozenset({"", "~", "null", "Null", "NULL", "none", "None"})


@dataclass(frozen=True)
class Leaf:
    """A scalar of a file: its text and place; `text` is None for null."""

    text: str | None
    where: Where
    quoted: bool = False


@dataclass(frozen=True)
class Tree:
    """All scalars of a file by path, and the place of every key and item. A later duplicate of a key counts."""

    leaves: dict[Path, Leaf]
    places: dict[Path, Where]
    twice: tuple[tuple[Path, Where], ...] = ()

    def value(self, path: Path, key: str | None = None) -> Value | None:
        """A scalar as a figure, None where the file has none or says null."""
        leaf = self.leaves.get(path)
        if leaf is None or leaf.text is None:
            return None
        return Value(read(leaf), leaf.where, key or ".".join(map(str, path)))

    def items(self, path: Path) -> list[Leaf]:
        """The scalars of a list."""
        found: list[Leaf] = []
        while (leaf := self.leaves.get((*path, len(found)))) is not None:
            found.append(leaf)
        return found

    def below(self, path: Path) -> list[str | int]:
        """The keys directly below a path."""
        return list(dict.fromkeys(one[len(path)] for one in self.places if one[: len(path)] == path != one))


def read(leaf: Leaf) -> Read:
    """A scalar's value; text that holds an interpolation such as ${now:} stays text."""
    if leaf.text is None:
        return None
    return printable(leaf.text) if leaf.quoted and len(leaf.text) > LONGEST else scalar(leaf.text)


def values(tree: Tree, path: Path) -> tuple[Scalar, ...]:
    """The scalars of a list as values."""
    found = (read(leaf) for leaf in tree.items(path))
    return tuple(one for one in found if one is not None and not isinstance(one, tuple))


def parse(text: str, file: str) -> Tree:
    """A YAML or JSON file. Raises Unreadable."""
    try:
        reader = _Reader(file, iter(yaml.parse(text.replace("\t", " "), Loader=_LOADER)))
        return reader.tree()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = Where(file, mark.line + 1 if mark else 1)
        raise refuse(where, f"what is not YAML ({error.problem})", "YAML or JSON", "Mend the syntax.") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise refuse(Where(file, 1), type(error).__name__, "YAML or JSON", "Mend the syntax.") from None


@dataclass
class _Reader:
    file: str
    events: Iterator[Any]
    leaves: dict[Path, Leaf] = field(default_factory=dict)
    places: dict[Path, Where] = field(default_factory=dict)
    twice: list[tuple[Path, Where]] = field(default_factory=list)
    anchors: dict[str, Path] = field(default_factory=dict)

    def tree(self) -> Tree:
        next(self.events)
        first = next(self.events)
        if not isinstance(first, yaml.StreamEndEvent):
            self.value(next(self.events), (), 0)
        return Tree(self.leaves, self.places, tuple(self.twice))

    def value(self, event: Any, path: Path, depth: int) -> None:
        where = Where(self.file, event.start_mark.line + 1)
        if depth > MAX_DEPTH or len(self.places) > MAX_LEAVES:
            raise refuse(where, "a file too deep or large to read", "a recipe", "Flatten it, or write aliases out.")
        self.places.setdefault(path, where)
        if isinstance(event, yaml.AliasEvent):
            self.copy(self.anchors.get(event.anchor or "", ("", "")), path, where)
            return
        if event.anchor is not None:
            self.anchors[event.anchor] = path
        if isinstance(event, yaml.ScalarEvent):
            plain = event.implicit[0]
            null = plain and event.value in _NULLS
            self.leaves[path] = Leaf(None if null else event.value, where, not plain)
        elif isinstance(event, yaml.SequenceStartEvent):
            number = 0
            while not isinstance(item := next(self.events), yaml.SequenceEndEvent):
                self.value(item, (*path, number), depth + 1)
                number += 1
        else:
            self.mapping(path, depth)

    def mapping(self, path: Path, depth: int) -> None:
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            where = Where(self.file, event.start_mark.line + 1)
            if not isinstance(event, yaml.ScalarEvent):
                raise refuse(where, "a key that is no word", "words as keys", "Rename the key.")
            key = printable(event.value)
            here = path if key == "<<" else (*path, key)
            if key != "<<" and here in self.places:
                self.forget(here)
                self.twice.append((here, where))
            self.places[here] = where
            self.value(next(self.events), here, depth + 1)

    def forget(self, path: Path) -> None:
        """What stood below a key that comes again: its last value counts."""
        for table in (self.leaves, self.places):
            for one in [one for one in table if one[: len(path)] == path]:
                del table[one]

    def copy(self, source: Path, target: Path, where: Where) -> None:
        """What an alias stands for, at the alias's own place; keys that are there already stay (merges)."""
        found = [(path, place) for path, place in self.places.items() if path[: len(source)] == source]
        if len(self.places) + len(found) > MAX_LEAVES:
            raise refuse(where, "aliases that grow without end", "a recipe", "Write aliases out.")
        for path, _ in found:
            here = (*target, *path[len(source) :])
            if path in self.leaves:
                self.leaves.setdefault(here, self.leaves[path])
            self.places.setdefault(here, where)
