"""Stretches of an array, put one after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 1 << 16  # stretches that are Python objects at once, of some 300 bytes each


def gather(data: NDArray[Any], starts: NDArray[Any], lengths: NDArray[Any]) -> NDArray[Any]:
    """The stretches [starts[i], starts[i] + lengths[i]) of `data`, one after the other."""
    raw, size = data.view(np.uint8).data, data.itemsize  # bytes, since numpy takes twice as long for many short ones
    found = np.empty(int(lengths.sum()), dtype=data.dtype)
    out, at = found.view(np.uint8), 0
    for first in range(0, len(starts), BLOCK):
        begins, ends = starts[first : first + BLOCK], starts[first : first + BLOCK] + lengths[first : first + BLOCK]
        each = zip((begins * size).tolist(), (ends * size).tolist(), strict=True)
        block = np.frombuffer(b"".join([raw[a:b] for a, b in each]), dtype=np.uint8)
        out[at : at + len(block)] = block
        at += len(block)
    return found
