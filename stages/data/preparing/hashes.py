"""Sets of 128-bit hashes on the disk: sorted, in two columns that are mapped, so that they take no memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from stages.data import mapped
from stages.data.preparing.buckets import Buckets
from stages.store import files, trees
from stages.store.shards import Shard

PAIR = np.dtype([("first", "<u8"), ("second", "<u8")])
Pairs = NDArray[Any]
"""Hashes of dtype PAIR [n]."""


def of(texts: Iterable[str]) -> Pairs:
    """The blake3 of each text, its first 16 bytes."""
    return np.frombuffer(b"".join(blake3(text.encode()).digest(length=16) for text in texts), dtype=PAIR)


def write(folder: Path, blocks: Iterable[Pairs]) -> list[Shard]:
    """Write the set of all hashes, each once; the files, as seen from the folder above. Raises WriteError."""
    sorter = Buckets(folder.with_name(f".{folder.name}.sort"), PAIR, "first")
    for block in blocks:
        sorter.add(block)
    sorter.flush()

    def column(name: str) -> Iterator[memoryview]:
        yield from (memoryview(np.unique(rows)[name].tobytes()) for rows in sorter.sorted())

    with files.failing(folder):
        files.make_dirs(folder)
    written = {name: files.write(folder / name, column(name), flush=False) for name in ("first", "second")}
    trees.remove_tree(sorter.folder)
    return [Shard(file=f"{folder.name}/{name}", size=one.size, blake3=one.blake3) for name, one in written.items()]


class Hashes:
    """A set that `write` wrote."""

    def __init__(self, folder: Path) -> None:
        self._first, self._second = (mapped.array(folder / name, "<u8") for name in ("first", "second"))

    def first(self, wanted: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which of these are the first half of a hash in the set: a filter before `have`."""
        places = np.searchsorted(self._first, wanted)
        inside = places < len(self._first)
        inside[inside] = self._first[places[inside]] == wanted[inside]
        return np.asarray(inside)

    def have(self, pairs: Pairs) -> NDArray[np.bool_]:
        """Which of these hashes are in the set."""
        found = self.first(np.ascontiguousarray(pairs["first"]))
        maybe = np.flatnonzero(found)
        at = np.searchsorted(self._first, pairs["first"][maybe])
        found[maybe] = self._second[at] == pairs["second"][maybe]
        for place in maybe[~found[maybe]].tolist():  # of another hash with this first half, which there hardly is
            first, second = pairs[place]
            low, high = (np.searchsorted(self._first, first, side=side) for side in ("left", "right"))
            found[place] = bool(np.any(self._second[low:high] == second))
        return found
