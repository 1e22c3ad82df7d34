"""Attention of a stretch of a row, when one rank has only some of a row's queries (context parallelism).

The queries are those of positions [first, end) of one row; the keys and values are the whole row's. Only the document
that the stretch begins in can have keys ahead of its first query: its queries are the last ones of its keys. All other
documents lie inside the stretch, up to its end.

Shapes: M queries of the stretch, T positions of the row, N keys of the stretch's documents, H query heads, G key heads,
K a key's width, E a value's; m of M are in the document that the stretch begins in, or behind it.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.models.attention import attend, in_rows, spans
from stages.models.documents import Documents, Spans
from stages.models.ops import choice
from stages.models.transfer import to_device


class Stretch:
    """Positions [first, end) of a row with segments int32 [T] (a document's number; -1 is padding)."""

    def __init__(self, segments: NDArray[np.int32], first: int, end: int, device: torch.device) -> None:
        if not 0 <= first < end <= len(segments):
            raise ValueError(f"positions {first} to {end} are no stretch of a row of {len(segments)}")
        self._segments, self._device = segments, device
        borders = np.append(np.flatnonzero(np.diff(segments)) + 1, end)
        self.start = int(borders[borders <= first].max(initial=0)) if first else 0
        self.first, self.end = first, end
        self.opening = int(borders[borders > first].min())  # where the document that the stretch begins in ends here
        inside = borders[(borders > self.start) & (borders < end)]
        self._borders = np.concatenate([[self.start], inside, [end]]) - self.start

    @property
    def ahead(self) -> int:
        """How many keys lie ahead of the first query, all of its own document."""
        return self.first - self.start

    @cached_property
    def documents(self) -> Documents:
        """The documents of all keys [start, end), as one row."""
        return Documents(self._segments[None, self.start : self.end], self._device)

    @cached_property
    def others(self) -> Documents:
        """The documents behind the one that the stretch begins in, as one row."""
        return Documents(self._segments[None, self.opening : self.end], self._device)

    @cached_property
    def spans(self) -> tuple[Spans, Spans]:
        """Borders of the documents' queries, from 0 to end - first, and of their keys, from 0 to end - start."""
        return self._placed(np.maximum(self._borders - self.ahead, 0)), self._placed(self._borders)

    def _placed(self, borders: NDArray[np.int64]) -> Spans:
        return Spans(to_device(borders.astype(np.int32), self._device), int(np.diff(borders).max()))


def attend_stretch(q_MHK: Tensor, k_TGK: Tensor, v_TGE: Tensor, stretch: Stretch, scale: float) -> Tensor:
    """Softmax attention of a stretch's queries to the row's keys and values: [M, H, E].

    On a GPU in bf16 FlashAttention takes the borders; elsewhere torch's SDPA takes the document that the stretch begins
    in, and `attend` the others. The GPU's branch was never executed on a GPU.
    """
    k_NGK, v_NGE = (x[stretch.start : stretch.end] for x in (k_TGK, v_TGE))
    if not stretch.ahead:
        return attend(q_MHK[None], k_NGK[None], v_NGE[None], stretch.documents, scale)[0]
    if choice.attention(q_MHK.device.type, q_MHK.dtype, q_MHK.shape[-1], choice.features()) == "flash_varlen":
        queries, where = stretch.spans
        return spans(q_MHK, k_NGK, v_NGE, where, scale, causal=True, queries=queries)
    own, until = stretch.opening - stretch.first, stretch.opening - stretch.start
    opened_mHE = in_rows(q_MHK[None, :own], k_NGK[None, :until], v_NGE[None, :until], scale)[0]
    if stretch.opening == stretch.end:
        return opened_mHE
    rest_mHE = attend(q_MHK[None, own:], k_NGK[None, until:], v_NGE[None, until:], stretch.others, scale)[0]
    return torch.cat([opened_mHE, rest_mHE])
