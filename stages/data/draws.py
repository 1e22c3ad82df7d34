"""Draws that are the same on every machine, Python and numpy: bytes of BLAKE3's extendable output, keyed by words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

T = TypeVar("T")


class Draws:
    """A stream of small integers that depends on nothing but the words it is named by."""

    def __init__(self, *words: object, block: int = 64) -> None:
        self._hash = blake3("\x1f".join(map(str, words)).encode())
        self._block, self._seek = block, 0
        self._values: Iterator[int] = iter(())

    def below(self, n: int) -> int:
        """An integer in [0, n). Modulo bias is below n / 2**64, far from anything that could be measured."""
        value = next(self._values, None)
        if value is None:
            data = self._hash.digest(length=8 * self._block, seek=self._seek)
            self._seek += 8 * self._block
            self._values = iter(np.frombuffer(data, dtype="<u8").tolist())
            value = next(self._values)
        return int(value % n)

    def between(self, low: int, high: int) -> int:
        """An integer in [low, high], both ends included."""
        return low + self.below(high - low + 1)

    def choice(self, options: Sequence[T]) -> T:
        """One of the options, all equally likely."""
        return options[self.below(len(options))]


def rank(*words: object) -> int:
    """A 64-bit hash: sorts documents in a shuffled order, and draws the held-out ones."""
    return int.from_bytes(blake3("\x1f".join(map(str, words)).encode()).digest(length=8), "little")


def ranks(words: Sequence[str], names: Iterable[str]) -> list[NDArray[np.uint64]]:
    """For each word, `rank(word, name)` of many names."""
    encoded, starts = [name.encode() for name in names], [f"{word}\x1f".encode() for word in words]
    found = (b"".join([blake3(start + name).digest(8) for name in encoded]) for start in starts)
    return [np.frombuffer(digests, dtype="<u8") for digests in found]
