"""Sample order as a pure function of (seed, index): a keyed permutation of [0, n), O(1) in time and memory.

A Feistel network over the smallest power of two that contains n, with cycle-walking back into [0, n) (Black & Rogaway
2002, "Ciphers with arbitrary finite domains"). Any world size, worker count or cut reads the same order.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

ROUNDS = 8  # 4 make a Feistel network pseudorandom on large domains; small ones need more to mix

_MASK64 = (1 << 64) - 1
_MUL1, _MUL2 = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB  # splitmix64's finaliser (Steele, Lea & Flood 2014)


def key(seed: int, *words: str | int) -> bytes:
    """32 bytes that depend on the seed and on every word, and on where one word ends and the next begins."""
    digest = hashlib.blake2b(digest_size=32, person=b"stages.order")
    for word in (seed, *words):
        text = f"{type(word).__name__}:{word}".encode()
        digest.update(len(text).to_bytes(8, "little"))
        digest.update(text)
    return digest.digest()


class Permutation:
    """A bijection of [0, n) chosen by a key: `perm(i)` for one index, `perm.batch(indices)` for many, and `inverse`."""

    def __init__(self, n: int, key: bytes) -> None:
        if not 1 <= n <= 1 << 62:
            raise ValueError(f"a permutation needs between 1 and 2**62 elements, not {n}")
        self.n = n
        bits = max(2, (n - 1).bit_length())
        self._low = bits // 2
        self._low_mask = (1 << self._low) - 1
        self._high_mask = (1 << (bits - self._low)) - 1
        self._keys = tuple(
            int.from_bytes(hashlib.blake2b(key, digest_size=8, salt=bytes([number])).digest(), "little")
            for number in range(ROUNDS)
        )

    def __call__(self, i: int) -> int:
        """Where index i goes. Raises IndexError outside [0, n)."""
        if not 0 <= i < self.n:
            raise IndexError(f"index {i} lies outside [0, {self.n})")
        value = self._once(i)
        while value >= self.n:
            value = self._once(value)
        return value

    def batch(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """The same values for an array of indices (int64, any shape)."""
        flat = np.asarray(indices, dtype=np.int64).ravel()
        if flat.size and (flat.min() < 0 or flat.max() >= self.n):
            raise IndexError(f"some index lies outside [0, {self.n})")
        values = self._once_batch(flat.astype(np.uint64))
        outside = np.flatnonzero(values >= self.n)
        while outside.size:
            walked = self._once_batch(values[outside])
            values[outside] = walked
            outside = outside[walked >= self.n]
        return values.astype(np.int64).reshape(np.shape(indices))

    def inverse(self, value: int) -> int:
        """The index that goes to `value`: the rounds backwards, walked alike. Raises IndexError outside [0, n)."""
        if not 0 <= value < self.n:
            raise IndexError(f"value {value} lies outside [0, {self.n})")
        index = self._once(value, back=True)
        while index >= self.n:
            index = self._once(index, back=True)
        return index

    def _once(self, value: int, back: bool = False) -> int:
        high, low = value >> self._low, value & self._low_mask
        rounds = list(enumerate(self._keys))
        for number, round_key in reversed(rounds) if back else rounds:  # each round is its own inverse
            if number % 2:
                low ^= _mix(high ^ round_key) & self._low_mask
            else:
                high ^= _mix(low ^ round_key) & self._high_mask
        return high << self._low | low

    def _once_batch(self, values: NDArray[np.uint64]) -> NDArray[np.uint64]:
        shift = np.uint64(self._low)
        low_mask, high_mask = np.uint64(self._low_mask), np.uint64(self._high_mask)
        high, low = values >> shift, values & low_mask
        for number, round_key in enumerate(self._keys):
            if number % 2:
                low = low ^ (_mix_batch(high ^ np.uint64(round_key)) & low_mask)
            else:
                high = high ^ (_mix_batch(low ^ np.uint64(round_key)) & high_mask)
        return (high << shift) | low


def _mix(value: int) -> int:
    value = (value ^ value >> 30) * _MUL1 & _MASK64
    value = (value ^ value >> 27) * _MUL2 & _MASK64
    return value ^ value >> 31


def _mix_batch(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    values = (values ^ values >> np.uint64(30)) * np.uint64(_MUL1)  # array products wrap at 2**64, without a warning
    values = (values ^ values >> np.uint64(27)) * np.uint64(_MUL2)
    return values ^ values >> np.uint64(31)
