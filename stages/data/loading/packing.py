"""Which tokens a sample is made of: windows over concatenated documents, or whole documents fitted into windows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.contract.order import Permutation


@dataclass(frozen=True)
class Plan:
    """Whole-document packing: window w contains `documents[starts[w] : starts[w + 1]]`, in that order.

    `left_out` documents do not fit into a window.
    """

    documents: NDArray[np.int64]
    starts: NDArray[np.int64]
    left_out: int

    @property
    def windows(self) -> int:
        """Number of windows."""
        return len(self.starts) - 1


def plan(lengths: NDArray[np.int64], first: int, context: int, key: bytes | None) -> Plan:
    """Next-fit: a document goes into the current window if it fits, else it opens the next.

    Documents come in an order permuted by `key`; with None as they lie in the corpus, so that the number of windows
    follows from the corpus alone.

    `lengths` (tokens) are those of documents first, first + 1, ...; a document longer than `context` is left out
    whole, since a conversation that is cut loses its answer. Every window has at least one document and at most
    `context` tokens.
    """
    order = np.arange(len(lengths))
    if key is not None:
        order = Permutation(len(lengths), key).batch(order)
    order = order[lengths[order] <= context]
    ends = np.cumsum(lengths[order])
    starts = [0]
    while starts[-1] < len(order):
        filled = int(ends[starts[-1] - 1]) if starts[-1] else 0
        starts.append(int(np.searchsorted(ends, filled + context, side="right")))
    documents, cuts = order + first, np.array(starts, dtype=np.int64)
    return Plan(documents, cuts, len(lengths) - len(order))


def next_fit(blocks: Iterable[NDArray[np.int64]], context: int) -> tuple[int, int]:
    """Windows, and tokens in them, that `plan` with None as its key makes of lengths that come in blocks."""
    windows = tokens = left = 0
    for lengths in blocks:
        fitting = lengths[lengths <= context]
        ends = np.cumsum(fitting)
        tokens += int(fitting.sum())
        at = int(np.searchsorted(ends, left, side="right"))
        left -= int(ends[at - 1]) if at else 0
        while at < len(fitting):
            filled = int(ends[at - 1]) if at else 0
            at = int(np.searchsorted(ends, filled + context, side="right"))
            windows, left = windows + 1, context - (int(ends[at - 1]) - filled)
    return windows, tokens


def concatenated_windows(tokens: int, context: int) -> int:
    """Windows of context + 1 tokens, a stride of `context` apart, in `tokens` tokens: each position has its target."""
    return max(0, (tokens - 1) // context)
