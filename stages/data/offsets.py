"""Where documents begin, in tokens: an array where they are few, else worked out when it is asked for.

A corpus of a billion documents would take 8 GB for its offsets, in each process that reads it. Their lengths are on the
disk, mapped; in memory is where every `BLOCK`-th document begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

BLOCK = 1024  # documents
IN_MEMORY = 1 << 22  # documents whose offsets are an array: 32 MB
AT_ONCE = 1 << 20  # lengths that are read at once
Lengths = Callable[[int, int], NDArray[np.int64]]
"""Tokens of the documents [first, last)."""


class Offsets:
    """As an int64 array [documents + 1]: entry i is where document i begins, the last one where all end.

    Taken by a number, a slice without step, or an array of numbers; searched as numpy's.
    """

    def __init__(self, documents: int, lengths: Lengths) -> None:
        self._documents, self._lengths = documents, lengths
        sums = [_sums(lengths(at, min(at + AT_ONCE, documents))) for at in range(0, documents, AT_ONCE)]
        self._marks = np.cumsum(np.concatenate([np.zeros(1, dtype=np.int64), *sums]))

    def __len__(self) -> int:
        return self._documents + 1

    def __getitem__(self, which: Any) -> Any:
        if isinstance(which, slice):
            first, last, step = which.indices(len(self))
            assert step == 1
            return self._range(first, last)
        if isinstance(which, np.ndarray) or np.ndim(which):
            return self._take(np.asarray(which, dtype=np.int64))
        number = int(which)
        number += len(self) if number < 0 else 0
        if not 0 <= number < len(self):
            raise IndexError(f"document {which} of {self._documents}")
        return self._range(number, number + 1)[0]

    def searchsorted(self, values: Any, side: Literal["left", "right"] = "left") -> Any:
        """Where `values` would be put in, as numpy's."""
        wanted = np.atleast_1d(np.asarray(values, dtype=np.int64))
        blocks = np.clip(np.searchsorted(self._marks, wanted, side=side) - 1, 0, max(0, len(self._marks) - 2))
        found = np.empty(wanted.shape, dtype=np.int64)
        for block in np.unique(blocks).tolist():
            here = blocks == block
            found[here] = block * BLOCK + np.searchsorted(self._block(block), wanted[here], side=side)
        return found if np.ndim(values) else found[0]

    def _range(self, first: int, last: int) -> NDArray[np.int64]:
        if last <= first:
            return np.zeros(0, dtype=np.int64)
        begin = first // BLOCK * BLOCK
        inside = np.cumsum(self._lengths(begin, last - 1), dtype=np.int64)
        return np.concatenate([np.zeros(1, dtype=np.int64), inside])[first - begin :] + self._marks[first // BLOCK]

    def _take(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        numbers = np.where(numbers < 0, numbers + len(self), numbers)
        if numbers.size and not 0 <= int(numbers.min()) <= int(numbers.max()) < len(self):
            raise IndexError(f"documents {numbers.min()} to {numbers.max()} of {self._documents}")
        blocks = numbers // BLOCK
        found = np.empty(numbers.shape, dtype=np.int64)
        for block in np.unique(blocks).tolist():
            here = blocks == block
            found[here] = self._block(block)[numbers[here] - block * BLOCK]
        return found

    def _block(self, block: int) -> NDArray[np.int64]:
        """The offsets of a block's documents, and the one behind the last of them."""
        return self._range(block * BLOCK, min((block + 1) * BLOCK, self._documents) + 1)


Places = NDArray[np.int64] | Offsets


def of(documents: int, lengths: Lengths) -> Places:
    """The offsets of so many documents."""
    if documents > IN_MEMORY:
        return Offsets(documents, lengths)
    found = np.zeros(documents + 1, dtype=np.int64)
    np.cumsum(lengths(0, documents), out=found[1:])
    return found


def length_blocks(offsets: Places, documents: int) -> Iterator[NDArray[np.int64]]:
    """Lengths of the first `documents`, in blocks."""
    for at in range(0, documents, AT_ONCE):
        yield np.diff(offsets[at : min(at + AT_ONCE, documents) + 1])


def _sums(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Tokens of each block, the last of which may be shorter."""
    return np.add.reduceat(lengths, np.arange(0, len(lengths), BLOCK), dtype=np.int64)
