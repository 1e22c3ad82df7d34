"""Many sorted runs to one corpus: by rank, training documents first, in memory that does not grow with the corpus.

Ranks are hashes, so a stretch of ranks is a like part of every run. Stretches are cut until one fits into memory; equal
ranks come in the order of the runs, which is the order of the input. Nothing is kept of a stretch once it is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.data import mmidx, runs
from stages.data.gather import gather
from stages.data.runs import Documents, Run
from stages.store import files
from stages.store.files import Data

STRETCH = 32 << 20  # bytes of tokens and masks that are in memory at once
ALL = 1 << 64  # one past the last rank


@dataclass(frozen=True)
class Part:
    """Documents [first, last) of a run."""

    run: Run
    first: int
    last: int

    def column(self, name: str) -> NDArray[Any]:
        """A column of documents."""
        return self.run.column(name, self.first, self.last - self.first)

    def data(self, name: str) -> NDArray[Any]:
        """The documents' tokens or masks, one document after the other."""
        first, last = self._reach
        return self.run.column(name, first, last - first)

    @property
    def tokens(self) -> int:
        """How many tokens the documents have."""
        first, last = self._reach
        return last - first

    @property
    def bytes(self) -> int:
        """What their tokens and masks take in memory."""
        return self.tokens * (np.dtype(self.run.meta.dtype).itemsize + 1)

    def below(self, rank: int) -> int:
        """The first document of the part whose rank is at least `rank`."""
        return self.first + int(np.searchsorted(self.run.mapped("rank")[self.first : self.last], np.uint64(rank)))

    @property
    def _reach(self) -> tuple[int, int]:
        return tuple(int(self.run.column("start", at, 1)[0]) for at in (self.first, self.last))  # type: ignore[return-value]


@dataclass(frozen=True)
class Merge:
    """Runs in the order of the input, and where the merged lengths are kept (int32 per document).

    With `once`, of documents that say the same the first one alone is kept.
    """

    runs: Sequence[Run]
    once: bool
    lengths: Path
    dropped: int  # documents that another one equals
    documents: int  # before the held-out ones
    size: int  # tokens of these
    heldout: int
    longest: int

    def contents(self, supervised: bool) -> dict[str, Data]:
        """The files of the prepared corpus, as blocks that are made when they are asked for."""
        dtype = np.dtype(self.runs[0].meta.dtype)
        blocks: dict[str, Data] = {
            "tokens.bin": _blocks(self.runs, "tokens", self.once),
            "tokens.idx": mmidx.index_blocks(self.length_blocks, self.documents + self.heldout, dtype),
        }
        return blocks | ({"mask.bin": _blocks(self.runs, "mask", self.once)} if supervised else {})

    def length_blocks(self, most: int | None = None) -> Iterator[NDArray[np.int64]]:
        """Lengths of the documents in order, or of the first `most`, in blocks."""
        left, at, block = self.documents + self.heldout if most is None else most, 0, 1 << 20
        while left > 0:
            found = np.fromfile(self.lengths, dtype="<i4", count=min(left, block), offset=4 * at).astype(np.int64)
            yield found
            left, at = left - len(found), at + len(found)


def merge(found: Sequence[Run], lengths: Path, once: bool = False) -> Merge:
    """Merge the lengths alone, and count. Raises WriteError."""
    counts = {False: [0, 0], True: [0, 0]}  # documents and tokens, not held out and held out
    longest = 0

    def blocks() -> Iterator[memoryview]:
        nonlocal longest
        for heldout, parts, order in _stretches(found, once):
            merged = np.concatenate([part.column("length") for part in parts])[order]
            counts[heldout][0] += len(merged)
            counts[heldout][1] += int(merged.sum(dtype=np.int64))
            longest = max(longest, int(merged.max(initial=0)))
            yield memoryview(merged.tobytes())

    files.write(lengths, blocks(), flush=False)
    (documents, size), (heldout_documents, _) = counts[False], counts[True]
    dropped = sum(run.meta.documents for run in found) - documents - heldout_documents
    return Merge(found, once, lengths, dropped, documents, size, heldout_documents, longest)


def held_out_alone(found: Sequence[Run], origin: int, folder: Path) -> list[Run]:
    """The runs with the documents of one `origin` held out, and no other. They are few, or nearly all are equal."""
    return [_again(run, origin, folder / run.folder.name) for run in found]


def _again(run: Run, origin: int, folder: Path) -> Run:
    origins, supervised = run.column("origin"), any(shard.file == "mask" for shard in run.meta.shards)
    made = Documents(
        run.column("rank"), origins, origins == np.uint64(origin), run.column("length").astype(np.int64),
        run.column("tokens"), run.column("mask") if supervised else None,
    )  # fmt: skip
    return runs.write(folder, made, run.meta.rows, run.meta.last, run.meta.bad)


def _blocks(found: Sequence[Run], name: str, once: bool) -> Iterator[memoryview]:
    """A column of tokens or masks in the merged order."""
    for _, parts, order in _stretches(found, once):
        lengths = np.concatenate([part.column("length") for part in parts]).astype(np.int64)
        data = np.concatenate([part.data(name) for part in parts])
        starts = np.cumsum(lengths) - lengths
        yield memoryview(gather(data, starts[order], lengths[order]).tobytes())


def _stretches(found: Sequence[Run], once: bool) -> Iterator[tuple[bool, list[Part], NDArray[np.int64]]]:
    """Stretches of ranks that fit into memory: whether they are held out, their parts, and their order."""
    for heldout in (False, True):
        parts = []
        for run in found:
            border = run.meta.documents - run.meta.heldout
            parts.append(Part(run, border, run.meta.documents) if heldout else Part(run, 0, border))
        yield from ((heldout, *one) for one in _cut(parts, 0, ALL, once))


def _cut(parts: Sequence[Part], low: int, high: int, once: bool) -> Iterator[tuple[list[Part], NDArray[np.int64]]]:
    """Parts whose ranks are in [low, high), in stretches; one rank alone goes run by run, its order being that."""
    left = [part for part in parts if part.last > part.first]
    size = sum(part.bytes for part in left)
    if size <= STRETCH and left:
        ranks = np.concatenate([part.column("rank") for part in left])
        order = np.argsort(ranks, kind="stable")
        origins = np.concatenate([part.column("origin") for part in left]) if once else ranks
        yield left, order[_firsts(ranks[order], origins[order])] if once else order
    elif high - low == 1:
        seen: set[int] = set()
        for part in left:
            yield [part], _unseen(part, seen) if once else np.arange(part.last - part.first)
    elif left:
        middle = (low + high) // 2
        borders = [part.below(middle) for part in left]
        lower = [replace(part, last=border) for part, border in zip(left, borders, strict=True)]
        upper = [replace(part, first=border) for part, border in zip(left, borders, strict=True)]
        yield from _cut(lower, low, middle, once)
        yield from _cut(upper, middle, high, once)


def _firsts(ranks: NDArray[np.uint64], origins: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which documents, in order, do not say what the one before them does: both hashes are of what they say."""
    other = (ranks[1:] != ranks[:-1]) | (origins[1:] != origins[:-1])
    return np.concatenate([np.ones(min(1, len(ranks)), dtype=np.bool_), other])


def _unseen(part: Part, seen: set[int]) -> NDArray[np.int64]:
    """The documents of a part, all of one rank, that say what none before them does."""
    kept = []
    for number, origin in enumerate(part.column("origin").tolist()):
        if origin not in seen:
            seen.add(origin)
            kept.append(number)
    return np.array(kept, dtype=np.int64)
