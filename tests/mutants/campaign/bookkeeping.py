"""An author who removes a figure removes what `sources:` said of it too: else every removal would be seen by that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from tests.mutants.campaign import numbers
from tests.mutants.campaign.leaves import Entry, Path, entries, without

NAMES = ("name", "corpus", "what")


def tidied(text: str) -> str:
    """The text without the `covers:` that no figure is left under, and without entries that then cover nothing."""
    while (idle := _idle(text)) is not None:
        text = without(text, idle)
    return text


def _idle(text: str) -> Entry | None:
    """The first thing to take out of `sources:`, None where nothing is."""
    try:
        value = yaml.load(text, Loader=yaml.CBaseLoader)
        held = {entry.path: entry for entry in entries(text)}
    except yaml.YAMLError:
        return None
    if not isinstance(value, dict) or not isinstance(value.get("sources"), list):
        return None
    known = list(_figures({key: one for key, one in value.items() if key != "sources"}, ((),)))
    for number, source in enumerate(value["sources"]):
        covers = source.get("covers", []) if isinstance(source, dict) else []
        idle = [at for at, cover in enumerate(covers) if not any(_covers(cover, paths) for paths in known)]
        if idle:
            whole = len(idle) == len(covers)
            return held[("sources", number) if whole else ("sources", number, "covers", idle[0])]
    return None


def _covers(cover: str, paths: tuple[Path, ...]) -> bool:
    return cover == "*" or any(".".join(map(str, path)).startswith(f"{cover}.") or
                               ".".join(map(str, path)) == cover for path in paths)  # fmt: skip


def _figures(tree: Any, paths: tuple[Path, ...]) -> Iterator[tuple[Path, ...]]:
    """The paths of every figure: list items by their number and by their name."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _figures(value, tuple((*path, key) for path in paths))
    elif isinstance(tree, list):
        for number, item in enumerate(tree):
            names = [item[key] for key in NAMES if isinstance(item, dict) and isinstance(item.get(key), str)]
            yield from _figures(item, tuple((*path, name) for path in paths for name in (number, *names[:1])))
    elif isinstance(tree, str) and numbers.is_quantity(tree):
        yield paths
