"""YAML and JSON of unknown origin as leaves with lines. Aliases are allowed and bounded, tags are not followed.

A file's references to its own keys, `${model.max_seq_len}`, are followed on request (`followed`), as OmegaConf does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from stages.audit.readers.text import refuse
from stages.audit.recipe import LONGEST, Read, Scalar, Value, scalar
from stages.errors import Where
from stages.printable import printable

Path = tuple[str | int, ...]
MAX_DEPTH = 40
MAX_LEAVES = 60_000  # aliases count every time: a bomb ends here
MAX_TWICE = 200  # keys that come again
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NAME = re.compile(r"\$\{([A-Za-z_][\w.]*)\}")
_DEEPEST = 8  # references to references: no recipe has more
_LONGEST = 4096  # characters of what they become
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
        key = key or ".".join(map(str, path))
        if "${" in leaf.text or "{{" in leaf.text:
            return Value(None, leaf.where, key, f"{printable(leaf.text)} is filled in at the launch")
        return Value(read(leaf), leaf.where, key)

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
    """A scalar's value; text that contains an interpolation such as ${now:} stays text."""
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
        raise refuse(where, f"what is not YAML ({error.problem})", "YAML or JSON", "Correct the syntax.") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise refuse(Where(file, 1), type(error).__name__, "YAML or JSON", "Correct the syntax.") from None


@dataclass
class _Reader:
    file: str
    events: Iterator[Any]
    leaves: dict[Path, Leaf] = field(default_factory=dict)
    places: dict[Path, Where] = field(default_factory=dict)
    twice: list[tuple[Path, Where]] = field(default_factory=list)
    anchors: dict[str, tuple[Path, list[Path]]] = field(default_factory=dict)  # each with what is below it
    order: list[Path] = field(default_factory=list)  # paths as they were read
    merged: set[Path] = field(default_factory=set)  # by `<<`: what the mapping itself says counts, before or after
    copied: int = 0
    forgotten: int = 0

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
            self.copy(event.anchor or "", path, where)
            return
        start = len(self.order)
        self.order.append(path)
        self.content(event, path, where, depth)
        if event.anchor is not None:
            self.anchors[event.anchor] = path, self.order[start:]

    def content(self, event: Any, path: Path, where: Where, depth: int) -> None:
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
            if key == "<<":
                self.merge(path, depth)
                continue
            here = (*path, key)
            again = here in self.places and here not in self.merged
            before = self.leaves.get(here) if again else None
            if here in self.places:
                self.forget(here)
                self.merged.discard(here)
            self.places[here] = where
            self.value(next(self.events), here, depth + 1)
            now = self.leaves.get(here)
            if again and not (before is not None and now is not None and before.text == now.text):
                self.twice.append((here, where))

    def merge(self, path: Path, depth: int) -> None:
        """`<<: *a` or `<<: [*a, *b]`: keys of other mappings, where the mapping has none of its own."""
        event = next(self.events)
        items: list[Any] = [event]
        if isinstance(event, yaml.SequenceStartEvent):
            items = []
            while not isinstance(item := next(self.events), yaml.SequenceEndEvent):
                items.append(item)
        for one in items:
            where = Where(self.file, one.start_mark.line + 1)
            if not isinstance(one, yaml.AliasEvent):
                raise refuse(where, "a merge of what is no alias", "`<<: *name`", "Write the keys out.")
            self.copy(one.anchor or "", path, where, merging=True)

    def forget(self, path: Path) -> None:
        """What stood below a key that comes again: its last value counts."""
        self.forgotten += 1
        if self.forgotten > MAX_TWICE:
            raise refuse(self.places[path], "the same keys again and again", "a recipe", "Write each once.")
        for table in (self.leaves, self.places):
            for one in [one for one in table if one[: len(path)] == path]:
                del table[one]

    def copy(self, anchor: str, target: Path, where: Where, merging: bool = False) -> None:
        """What an alias stands for, at the alias's own place; of a merge, only keys that are not there yet."""
        source, found = self.anchors.get(anchor, ((), []))
        self.copied += len(found)
        if self.copied > MAX_LEAVES:
            raise refuse(where, "aliases that grow without end", "a recipe", "Write aliases out.")
        own = {here for path in found if (here := (*target, *path[len(source) :])) in self.places} if merging else set()
        for path in found:
            here = (*target, *path[len(source) :])
            if path not in self.places or here[: len(target) + 1] in own:
                continue
            self.order.append(here)
            self.places.setdefault(here, where)
            if merging:
                self.merged.add(here)
            if path in self.leaves:
                self.leaves[here] = self.leaves[path]


def followed(tree: Tree) -> Tree:
    """The file with every reference to a scalar of its own in the scalar's place."""
    leaves = dict(tree.leaves)
    for path, leaf in tree.leaves.items():
        text = leaf.text
        for _ in range(_DEEPEST):
            if text is None or "${" not in text:
                break
            text = _once(tree, text)
        if text != leaf.text:
            leaves[path] = replace(leaf, text=text)
    return replace(tree, leaves=leaves)


def _once(tree: Tree, text: str) -> str | None:
    """One round of references; None where the whole text is one to a key without a value."""
    whole = _NAME.fullmatch(text)
    if whole is not None:
        leaf = tree.leaves.get(_path(whole[1]))
        return text if leaf is None else leaf.text

    def one(match: re.Match[str]) -> str:
        leaf = tree.leaves.get(_path(match[1]))
        return match[0] if leaf is None or leaf.text is None else leaf.text

    made = _NAME.sub(one, text)
    return made if len(made) <= _LONGEST else text


def _path(dotted: str) -> Path:
    return tuple(dotted.split("."))
