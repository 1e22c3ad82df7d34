"""Where documents begin, in tokens: an array where they are few, else worked out on request.

A corpus of a billion documents would take 8 GB for its offsets, in each process that reads it. Their lengths are on the
disk, mapped; in memory is where every `BLOCK`-th document begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

BLOCK = 1024  # documents
MAX_ARRAY = 1 << 22  # documents whose offsets are an array: 32 MB
CHUNK = 1 << 20  # lengths that are read at once; a multiple of BLOCK
Lengths = Callable[[int, int], NDArray[np.int64]]
"""`lengths(first, last)`: tokens of each of the documents [first, last), int64 [last - first]."""


class Offsets:
    """As an int64 array [documents + 1]: entry i is where document i begins, the last one where all end.

    Indexed by a number, a slice without a step, or an array of numbers: IndexError beyond the end, and ValueError for a
    slice with a step.
    """

    def __init__(self, documents: int, lengths: Lengths) -> None:
        self._documents, self._lengths = documents, lengths
        sums = [_sums(lengths(at, min(at + CHUNK, documents))) for at in range(0, documents, CHUNK)]
        self._block_starts = np.cumsum(np.concatenate([np.zeros(1, dtype=np.int64), *sums]))

    def __len__(self) -> int:
        return self._documents + 1

    def __getitem__(self, which: Any) -> Any:
        if isinstance(which, slice):
            first, last, step = which.indices(len(self))
            if step != 1:
                raise ValueError(f"offsets are sliced without a step, found {step}")
            return self._range(first, last)
        if isinstance(which, np.ndarray) or np.ndim(which):
            return self._take(np.asarray(which, dtype=np.int64))
        number = int(which)
        number += len(self) if number < 0 else 0
        if not 0 <= number < len(self):
            raise IndexError(f"document {which} of {self._documents}")
        return self._range(number, number + 1)[0]

    def searchsorted(self, values: Any, side: Literal["left", "right"] = "left") -> Any:
        """As numpy.ndarray.searchsorted: the index before which each of `values` would be inserted."""
        wanted = np.atleast_1d(np.asarray(values, dtype=np.int64))
        blocks = np.clip(
            np.searchsorted(self._block_starts, wanted, side=side) - 1, 0, max(0, len(self._block_starts) - 2)
        )
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
        return (
            np.concatenate([np.zeros(1, dtype=np.int64), inside])[first - begin :] + self._block_starts[first // BLOCK]
        )

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


DocumentOffsets = NDArray[np.int64] | Offsets


def of(documents: int, lengths: Lengths) -> DocumentOffsets:
    """The offsets of so many documents: an array int64 [documents + 1], or what is indexed and searched as one."""
    if documents > MAX_ARRAY:
        return Offsets(documents, lengths)
    found = np.zeros(documents + 1, dtype=np.int64)
    np.cumsum(lengths(0, documents), out=found[1:])
    return found


def length_blocks(offsets: DocumentOffsets, documents: int) -> Iterator[NDArray[np.int64]]:
    """Tokens of each of the first `documents`, int64, at most `CHUNK` at once."""
    for at in range(0, documents, CHUNK):
        yield np.diff(offsets[at : min(at + CHUNK, documents) + 1])


def _sums(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Tokens of each block of documents, the last of which may have fewer."""
    return np.add.reduceat(lengths, np.arange(0, len(lengths), BLOCK), dtype=np.int64)
