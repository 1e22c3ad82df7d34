"""Variants and derived scales: a file that names only what it changes, laid over the file that it extends."""

from __future__ import annotations

from stages.errors import Where
from stages.spec.nodes import Document, Path, Tree
from stages.spec.validate import hint

OWN_KEYS = frozenset({"sources"})  # of the file's own figures: what extends it has its own


def overlay(base: Document, over: Document) -> Document:
    """`over` laid on `base`: mappings merge, everything else is replaced, null removes; OWN_KEYS stay the base's.

    Each path keeps the place (file and line) that its value was written at. Raises SpecError for a null that removes
    nothing.
    """
    places: dict[Path, Where] = {}
    value = _merge(base, over, (), places)
    return Document(value, places)


def _merge(base: Document, over: Document, path: Path, places: dict[Path, Where]) -> Tree:
    below, above = _at(base.value, path), _at(over.value, path)
    places[path] = over.where(path)
    merged: dict[str, Tree] = {}
    for key in [*below, *(key for key in above if key not in below)]:
        here = (*path, key)
        if key not in above or (not path and key in OWN_KEYS):
            if key in below:
                merged[key] = below[key]
                _copy(base, here, places)
        elif isinstance(above[key], dict) and isinstance(below.get(key), dict) and not _choice(above[key]):
            merged[key] = _merge(base, over, here, places)
        elif above[key] is not None:
            merged[key] = above[key]
            _copy(over, here, places)
        elif key not in below:
            raise over.error(here, "null, which removes nothing", ", ".join(below), hint(key, below))
    return merged


def _choice(value: Tree) -> bool:
    """Whether a mapping is one choice among several, {release: x}, {upcycle: y} or {extend: z}: it replaces."""
    return len(value) == 1 and bool(set(value) & {"release", "upcycle", "extend"})


def _at(tree: Tree, path: Path) -> Tree:
    for part in path:
        tree = tree[part]
    return tree


def _copy(document: Document, path: Path, places: dict[Path, Where]) -> None:
    """The places of a value and of everything in it."""
    waiting = [(path, _at(document.value, path))]
    while waiting:
        here, value = waiting.pop()
        places[here] = document.places[here]
        below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        waiting.extend(((*here, key), one) for key, one in below)
