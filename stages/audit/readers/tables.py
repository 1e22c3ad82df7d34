"""Files of sections and keys (YAML, TOML, nested configurations in Python) by a table: figure → path of the key."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from stages.audit.readers.tree import Path, Tree, values
from stages.audit.recipe import Slip, Stage, Value, is_number, number
from stages.errors import Where
from stages.printable import printable

NEAR = 0.9  # of difflib's ratio: one letter in ten; names that differ by a word are further apart
Figures = Mapping[str, tuple[str, ...]]


def picked(tree: Tree, figures: Figures) -> dict[str, Value]:
    """The figures that a file states. A table's paths are dotted; the last one that the file has counts."""
    found: dict[str, Value] = {}
    for figure, paths in figures.items():
        for dotted in paths:
            path: Path = tuple(dotted.split("."))
            value = tree.value(path)
            if value is not None:
                found[figure] = value
            elif listed := values(tree, path):
                found[figure] = Value(listed, tree.places[path], dotted)
    return found


def run(
    tree: Tree, name: str, framework: str, found: dict[str, Value], figures: Figures, also: frozenset[str]
) -> list[Stage]:
    """The one run that a file describes."""
    where = tree.places.get((), Where(name, 1))
    return [Stage(name, framework, where, found, slips=tuple(slips(tree, figures, also)))]


def decay(scheduler: Value, styles: Mapping[str, str]) -> Value:
    """The shape of a scheduler that a file names; unknown for one that is not modelled here."""
    known = styles.get(str(scheduler.value))
    reason = None if known else f"the scheduler {scheduler.value} is not modelled here"
    return replace(scheduler, value=known, unknown=reason)


def count(found: Mapping[str, Value], name: str) -> int | None:
    """A whole number among figures, None for anything else."""
    value = found[name].value if name in found else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def betas(tree: Tree, path: Path) -> dict[str, Value]:
    """A list of both betas as figures."""
    both = values(tree, path)
    key = ".".join(map(str, path))
    names = ("beta1", "beta2") if len(both) == 2 else ()
    return {name: Value(both[at], tree.places[(*path, at)], key) for at, name in enumerate(names)}


def units(value: Value, size: int | None) -> Value:
    """A count of units as whole steps of `size` units each; unknown where the size is."""
    amount = value.value
    if not is_number(amount) or size is None:
        return replace(value, value=None, unknown=value.unknown or "in units whose number in a step is not known")
    return replace(value, value=int(amount) if size == 1 else -(-int(amount) // size))


def with_micro_batch(found: dict[str, Value]) -> None:
    """Sequences of a micro-batch, where its tokens are whole sequences."""
    tokens, context = count(found, "micro_tokens"), count(found, "context")
    if tokens is not None and context is not None and context > 0 and tokens % context == 0:
        found["micro_batch"] = replace(found["micro_tokens"], value=tokens // context)


def slips(tree: Tree, figures: Figures, also: frozenset[str] = frozenset()) -> Iterator[Slip]:
    """Keys that are nearly one of a figure, and none that is known (`also`)."""
    dotted = {path for paths in figures.values() for path in paths}
    sections: dict[Path, set[str]] = {}
    for one in dotted:
        *parts, key = one.split(".")
        sections.setdefault(tuple(parts), set()).add(key)
    for section, keys in sections.items():
        here = {str(key) for key in tree.below(section)}
        for key in sorted(here - keys - also):
            near = difflib.get_close_matches(key, keys - here, n=1, cutoff=NEAR) or _longer(key, keys - here)
            if near:
                yield Slip("flag-unknown", tree.places[(*section, key)], printable(key), f"{near[0]}?")


def _longer(key: str, keys: Iterable[str]) -> list[str]:
    """A long name of which the key has two to four letters more or fewer at its end: `sequence_length` for `_len`."""
    for one in keys:
        shorter, longer = sorted((one, key), key=len)
        if longer.startswith(shorter) and len(shorter) >= 10 and len(longer) - len(shorter) < 5:
            return [one]
    return []


def blend(words: Sequence[str]) -> tuple[tuple[float, ...], tuple[str, ...]] | None:
    """A blend written `weight path weight path ...`: its weights and paths, of which one may lack. None for others."""
    shares = [number(word) for word in words[::2]]
    known = [float(share) for share in shares if share is not None]
    if len(words) < 2 or len(known) != len(shares):
        return None
    return tuple(known), tuple(words[1::2])
