"""Sorted runs read side by side: stretches of ranks that fit into memory, each with its documents' order.

Ranks are hashes, so a stretch of ranks is a like part of every run, and each run is read from its beginning to its end.
Stretches are halved until one fits; equal ranks come in the order of the runs, which is the order of the input. A run's
columns are opened once, when they are first read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.data import mapped
from stages.data.preparing.sorted_runs import Run

STRETCH = 32 << 20  # bytes that are in memory at once: tokens, masks, and what is kept of each document besides them
DOCUMENT = 256
FILES = 5  # that a run has open at most: rank and start, mapped; length; origin; tokens or mask
ALL = 1 << 64  # one past the last rank


@dataclass
class Columns:
    """The columns of a run, each opened once."""

    run: Run
    _handles: dict[str, int] = field(default_factory=dict)

    def read(self, name: str, first: int, last: int) -> NDArray[Any]:
        """Entries [first, last) of a column. Raises OSError where the file is shorter."""
        data = np.empty(last - first, dtype=self.run.kind(name))
        if name not in self._handles:
            self._handles[name] = os.open(self.run.folder / name, os.O_RDONLY)
        left, at = data.view(np.uint8).data, first * data.itemsize
        while left:
            count = os.preadv(self._handles[name], [left], at)
            if not count:
                raise OSError(f"{self.run.folder / name}: cut short")
            left, at = left[count:], at + count
        return data

    @cached_property
    def ranks(self) -> NDArray[Any]:
        """A map of the file, for searching."""
        return mapped.array(self.run.folder / "rank", self.run.kind("rank"))

    @cached_property
    def starts(self) -> NDArray[Any]:
        """Where each document's tokens begin, and behind the last one where they end: a map of the file."""
        return mapped.array(self.run.folder / "start", self.run.kind("start"))

    def close(self) -> None:
        """Close what was opened."""
        while self._handles:
            os.close(self._handles.popitem()[1])


@dataclass(frozen=True)
class Part:
    """Documents [first, last) of a run."""

    columns: Columns
    first: int
    last: int

    @property
    def documents(self) -> int:
        """How many there are."""
        return self.last - self.first

    def column(self, name: str) -> NDArray[Any]:
        """A column of documents."""
        return self.columns.read(name, self.first, self.last)

    def data(self, name: str) -> NDArray[Any]:
        """The documents' tokens or masks, one document after the other."""
        return self.columns.read(name, int(self.columns.starts[self.first]), int(self.columns.starts[self.last]))

    @property
    def bytes(self) -> int:
        """What they take in memory."""
        tokens = int(self.columns.starts[self.last]) - int(self.columns.starts[self.first])
        return tokens * (self.columns.run.kind("tokens").itemsize + 1) + self.documents * DOCUMENT

    def below(self, rank: int) -> int:
        """The first document of the part whose rank is at least `rank`."""
        return self.first + int(np.searchsorted(self.columns.ranks[self.first : self.last], np.uint64(rank)))


@dataclass(frozen=True)
class Stretch:
    """Documents of all runs between two ranks: the numbers that `order` takes of them, in that order."""

    heldout: bool
    parts: Sequence[Part]
    order: NDArray[np.int64]

    def column(self, name: str) -> NDArray[Any]:
        """A column of documents, in order."""
        return np.concatenate([part.column(name) for part in self.parts])[self.order]


def stretches(found: Sequence[Run], once: bool) -> Iterator[Stretch]:
    """All documents of the runs, those that are held out last. With `once`, the first of those that say the same.

    Raises OSError where a run is cut short.
    """
    with ExitStack() as opened:
        columns = [Columns(run) for run in found]
        for one in columns:
            opened.callback(one.close)
        for heldout in (False, True):
            parts = []
            for one in columns:
                border = one.run.meta.documents - one.run.meta.heldout
                parts.append(Part(one, border, one.run.meta.documents) if heldout else Part(one, 0, border))
            for some, order in _cut(parts, 0, ALL, once):
                yield Stretch(heldout, some, order)


def _cut(parts: Sequence[Part], low: int, high: int, once: bool) -> Iterator[tuple[list[Part], NDArray[np.int64]]]:
    """Parts whose ranks are in [low, high), in stretches; one rank alone goes run by run, its order being that."""
    left = [part for part in parts if part.documents]
    size = sum(part.bytes for part in left)
    if size <= STRETCH and left:
        ranks = np.concatenate([part.column("rank") for part in left])
        order = np.argsort(ranks, kind="stable")
        yield left, order[_firsts(ranks, left)[order]] if once else order
    elif high - low == 1:
        seen: set[int] = set()
        for part in chain.from_iterable(map(_halves, left)):
            yield [part], _unseen(part, seen) if once else np.arange(part.documents)
    elif left:
        middle = (low + high) // 2
        borders = [part.below(middle) for part in left]
        lower = [replace(part, last=border) for part, border in zip(left, borders, strict=True)]
        upper = [replace(part, first=border) for part, border in zip(left, borders, strict=True)]
        yield from _cut(lower, low, middle, once)
        yield from _cut(upper, middle, high, once)


def _halves(part: Part) -> Iterator[Part]:
    """A part in parts that fit into memory, or have one document."""
    if part.bytes <= STRETCH or part.documents == 1:
        yield part
        return
    middle = (part.first + part.last) // 2
    yield from _halves(replace(part, last=middle))
    yield from _halves(replace(part, first=middle))


def _firsts(ranks: NDArray[np.uint64], parts: Sequence[Part]) -> NDArray[np.bool_]:
    """Which documents are the first that say what they do: rank and origin are both hashes of that."""
    origins = np.concatenate([part.column("origin") for part in parts])
    order = np.lexsort((origins, ranks))  # stable, so that the first of equal ones comes first
    same = (ranks[order][1:] == ranks[order][:-1]) & (origins[order][1:] == origins[order][:-1])
    first = np.ones(len(ranks), dtype=np.bool_)
    first[order[1:][same]] = False
    return first


def _unseen(part: Part, seen: set[int]) -> NDArray[np.int64]:
    """The documents of a part, all of one rank, that say what none before them does."""
    kept = []
    for number, origin in enumerate(part.column("origin").tolist()):
        if origin not in seen:
            seen.add(origin)
            kept.append(number)
    return np.array(kept, dtype=np.int64)
