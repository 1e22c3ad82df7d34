"""What a launch line changes of the file that it names, and the file with these changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stages.audit.readers import tree as trees
from stages.audit.readers.text import Unreadable
from stages.audit.readers.tree import Leaf, Tree
from stages.errors import Where


@dataclass(frozen=True)
class Change:
    """A key that a launch line sets, and where."""

    path: tuple[str, ...]
    text: str
    where: Where


@dataclass(frozen=True)
class Launch:
    """A launch of a file that is read too; `function`: of a module of configurations, which one."""

    config: str
    changes: tuple[Change, ...]
    where: Where
    function: str = ""


def changed(tree: Tree, changes: Sequence[Change]) -> Tree:
    """The file with what a launch line sets. Its own settings (`--config a.toml`) are keys that no reader knows."""
    if not changes:
        return tree
    last = {one.path: one for one in changes}
    sizes = {len(path) for path in last}

    def kept(path: trees.Path) -> bool:
        return not any(path[:size] in last for size in sizes)

    leaves = {path: leaf for path, leaf in tree.leaves.items() if kept(path)}
    places = {path: where for path, where in tree.places.items() if kept(path)}
    for one in last.values():
        for end in range(1, len(one.path)):
            places.setdefault(one.path[:end], one.where)
        places[one.path] = one.where
        for path, leaf in _value(one):
            places[(*one.path, *path)] = one.where
            leaves[(*one.path, *path)] = leaf
    return Tree(leaves, places, tree.twice)


def _value(change: Change) -> Iterator[tuple[trees.Path, Leaf]]:
    """A word as leaves: a list or mapping written in it, else the word itself."""
    if change.text[:1] in {"{", "["}:
        try:
            parsed = trees.parse(change.text, change.where.file)
        except Unreadable:
            return
        yield from ((path, Leaf(leaf.text, change.where, leaf.quoted)) for path, leaf in parsed.leaves.items())
        return
    yield (), Leaf(change.text, change.where)
