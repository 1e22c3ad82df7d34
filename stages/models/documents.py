"""Where the documents of a batch are. The host knows it from the samples: no forward pass reads a device to learn it.

What attention needs is computed at its first use, once a batch, and shared by all layers and loops: the borders
of the documents (`spans`) for kernels that take them, a layout as rows of their own (`layout`) for those that do not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.models import attention_calls
from stages.models.transfer import positions, to_device

SHORTEST_GROUP = 32  # documents up to this length share one batch


@dataclass(frozen=True)
class Spans:
    """Documents one after another in B * T positions: document i has [borders[i], borders[i + 1])."""

    borders: Tensor  # int32 [documents + 1], from 0 to B * T
    longest: int


def whole_rows(rows: int, length: int, device: torch.device) -> Spans:
    """Rows of one document each, made on the device: the host need not send it anything."""
    return Spans(torch.arange(0, rows * length + 1, length, dtype=torch.int32, device=device), length)


@dataclass(frozen=True)
class Run:
    """Neighbouring documents that are attended in one call: a long one alone, or short ones."""

    length: int  # positions
    alone: bool
    spans: Spans  # borders counted from the run's first position


@dataclass(frozen=True)
class Layout:
    """Documents laid out as rows of batches (rows, length), one batch after another."""

    shapes: tuple[tuple[int, int], ...]
    index: Tensor  # int64 [laid out]: the position, of B * T, that each place copies
    inverse: Tensor  # int64 [B * T]: the place where each position lies
    real: Tensor  # bool [laid out, 1, 1]: False where a place is filling


class Documents:
    """Documents of rows with segments int32 [B, T]: a document's number within its row; -1 is padding.

    Equal numbers are contiguous within a row. Padding counts as a document, so that no softmax is empty.
    """

    def __init__(self, segments: NDArray[np.int32], device: torch.device) -> None:
        self._segments, self._device = segments, device
        starts = np.ones(segments.shape, dtype=bool)
        starts[:, 1:] = segments[:, 1:] != segments[:, :-1]
        self._first = np.flatnonzero(starts)
        self._lengths = np.diff(np.append(self._first, segments.size))
        self._runs: dict[tuple[int, int], tuple[Run, ...]] = {}

    def to(self, device: torch.device) -> Documents:
        """The same, for attention on a device."""
        return self if device == self._device else Documents(self._segments, device)

    @property
    def one_a_row(self) -> bool:
        """Whether every row is one document, so that attention can take rows as they are."""
        return len(self._first) == len(self._segments)

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        """Positions of each document, in their order."""
        return tuple(map(int, self._lengths))

    @cached_property
    def spans(self) -> Spans:
        """The documents' borders, on the device."""
        borders = np.append(self._first, self._segments.size).astype(np.int32)
        return Spans(to_device(borders, self._device), int(self._lengths.max()))

    def runs(self, heads: int, processors: int) -> tuple[Run, ...]:
        """The documents in the calls of `attention_calls`, in their order, for that many query heads."""
        if (heads, processors) not in self._runs:
            self._runs[heads, processors] = tuple(self._divided(heads, processors))
        return self._runs[heads, processors]

    def _divided(self, heads: int, processors: int) -> Iterator[Run]:
        for first, last in attention_calls.runs(self.lengths, heads, processors):
            lengths = self.lengths[first:last]
            borders = [0, *accumulate(lengths)]
            where = Spans(to_device(np.array(borders, dtype=np.int32), self._device), max(lengths))
            yield Run(borders[-1], last - first == 1, where)

    @cached_property
    def tokens(self) -> Tensor | None:
        """Positions of B * T that are not padding, int64 [n] on the device; None: there is no padding."""
        return positions(self._segments >= 0, self._device)

    @cached_property
    def layout(self) -> Layout:
        """Batches by length rounded up to powers of two: few calls, and most places of a batch are real."""
        rounded = np.maximum(np.ceil(np.log2(self._lengths)), np.log2(SHORTEST_GROUP))
        shapes, index, real = [], [], []
        for size in np.unique(rounded):
            chosen = np.flatnonzero(rounded == size)
            steps, own = np.arange(self._lengths[chosen].max()), self._lengths[chosen, None]
            shapes.append((len(chosen), len(steps)))
            real.append((steps < own).reshape(-1))
            index.append((self._first[chosen, None] + np.minimum(steps, own - 1)).reshape(-1))
        places, is_real = np.concatenate(index), np.concatenate(real)
        inverse = np.empty(self._segments.size, dtype=np.int64)
        inverse[places[is_real]] = np.flatnonzero(is_real)
        return Layout(
            shapes=tuple(shapes),
            index=to_device(places, self._device),
            inverse=to_device(inverse, self._device),
            real=to_device(is_real.reshape(-1, 1, 1), self._device),
        )
