"""Every number that a spec may hold, found from the schemas: a new field is found without a word here.

A leaf has a pattern of keys, "*" standing for any key or index, and the domain of what may stand there. Where a mapping
is of one kind among several (a model of a family), the pattern leads past a condition on the key that tells the kind.
"""

from __future__ import annotations

import typing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from types import NoneType, UnionType
from typing import Annotated, Any, Union

from pydantic import BaseModel

from stages.spec.domain import Domain, Written
from stages.spec.mapping import Fields, OneOf
from stages.spec.nodes import Path, Tree
from tests.unit.spec.spec_files import MODELS, SpecFile

Pattern = tuple["str | Kind", ...]


class AnyKey(str):
    """The "*" of a mapping; that of a list is a plain one."""


@dataclass(frozen=True)
class Kind:
    """Holds where the mapping's key `tag` has this value."""

    tag: str
    value: str


@dataclass(frozen=True)
class Leaf:
    """A number in files of one schema."""

    schema: str
    pattern: Pattern
    domain: Domain

    def __str__(self) -> str:
        return f"{self.schema}: {'.'.join(part for part in self.pattern if isinstance(part, str))}"

    def instances(self, tree: Tree) -> Iterator[Path]:
        """Where a file holds such a number."""
        yield from _instances(tree, self.pattern, ())

    def somewhere(self, tree: Tree) -> Path:
        """Where a file would hold such a number if it did."""
        return tuple(key for key, _ in self._walk(tree))

    def depth(self, tree: Tree) -> int:
        """How much of that place a file has."""
        return sum(there for _, there in self._walk(tree))

    def _walk(self, tree: Tree) -> Iterator[tuple[str | int, bool]]:
        """The keys and indices that lead there, and whether each is there: the first of several."""
        for part in (part for part in self.pattern if isinstance(part, str)):
            missing = "name" if isinstance(part, AnyKey) else 0
            key = part if part != "*" else next(iter(tree)) if isinstance(tree, dict) and tree else missing
            there = key in tree if isinstance(tree, dict) else isinstance(tree, list) and key == 0 and bool(tree)
            yield key, there
            tree = tree[key] if there else None


def _instances(tree: Tree, pattern: Pattern, path: Path) -> Iterator[Path]:
    if not pattern:
        if not isinstance(tree, (dict, list)):
            yield path
        return
    first, rest = pattern[0], pattern[1:]
    if isinstance(first, Kind):
        if isinstance(tree, dict) and tree.get(first.tag) == first.value:
            yield from _instances(tree, rest, path)
    elif first == "*":
        items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
        for key, value in items:
            yield from _instances(value, rest, (*path, key))
    elif isinstance(tree, dict) and first in tree:
        yield from _instances(tree[first], rest, (*path, first))


def leaves() -> list[Leaf]:
    """All of them, of every kind of file. An AssertionError names a number without a domain."""
    return [Leaf(name, *one) for name, model in MODELS.items() for one in _below(model, ())]


def unshipped_families(shipped: Iterable[SpecFile]) -> SpecFile:
    """A pipeline with a model of every family that no file has, each number as its domain's example."""
    there = {
        model["family"]
        for file in shipped
        if file.schema == "pipeline"
        for model in file.value.get("models", {}).values()
    }
    models: Tree = {}
    for leaf in leaves():
        kinds = [part for part in leaf.pattern if isinstance(part, Kind) and part.tag == "family"]
        if leaf.schema == "pipeline" and kinds and kinds[0].value not in there:
            model = models.setdefault(kinds[0].value, {"family": kinds[0].value, "tied": True})
            model[str(leaf.pattern[-1])] = leaf.domain.example
    return SpecFile("families/pipeline.yaml", "pipeline", {"models": models})


def _below(annotation: Any, pattern: Pattern) -> Iterator[tuple[Pattern, Domain]]:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if isinstance(annotation, Fields):
        for name, one in annotation.types.items():
            yield from _below(one, (*pattern, name))
    elif isinstance(annotation, OneOf):
        for kind, fields in annotation.kinds.items():
            yield from _below(fields, (*pattern, Kind(annotation.tag, kind)))
    elif origin is Annotated:
        marks = [one for one in arguments[1:] if isinstance(one, (Fields, OneOf, Written))]
        if marks and isinstance(marks[0], Written):
            yield pattern, marks[0].domain
        else:
            yield from _below(marks[0] if marks else arguments[0], pattern)
    elif origin in (Union, UnionType):
        for one in arguments:
            yield from _below(one, pattern)
    elif origin in (list, dict, tuple):
        for one in [arguments[-1]] if origin is not tuple else arguments[:1]:
            yield from _below(one, (*pattern, AnyKey("*") if origin is dict else "*"))
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        hints = typing.get_type_hints(annotation, include_extras=True)
        for name, field in annotation.model_fields.items():
            yield from _below(hints[name], (*pattern, field.alias or name))
    else:
        number = isinstance(annotation, type) and issubclass(annotation, (int, float, Fraction))
        assert not number or annotation in (bool, NoneType), f"{pattern} is a number without a domain"
