"""Causal attention inside documents.

A row may hold several documents (`segments`). One `Plan` is made per forward pass and shared by all layers and
loops. Rows of one document each attend causally as they are. Otherwise the documents are laid out as rows of their
own, in a few batches of similar length, filled up at the end with copies of their last position: causality hides the
filling from every real query, so no mask is needed and no document can see another. On one CPU thread, forward and
backward, this takes 1.3 times as long as a dense mask at 128 positions a row (where attention is a small part of a
step), as long at 256, and a twentieth at 4096 with documents of 60 tokens (benchmarks/attention.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stages.models.common import take_rows

SHORTEST_GROUP = 32  # documents up to this length share one batch


@dataclass(frozen=True)
class Plan:
    """Documents laid out as rows of batches (rows, length), one batch after another."""

    shapes: tuple[tuple[int, int], ...]
    index: Tensor  # int64 [laid out]: the position, of B * T, that each place copies
    inverse: Tensor  # int64 [B * T]: the place where each position lies
    real: Tensor  # bool [laid out, 1, 1]: False where a place is filling


def plan(segments: Tensor | None) -> Plan | None:
    """The layout for segments int32 [B, T] (a document's number within its row; -1 = padding); None: rows as they are.

    Equal numbers are contiguous within a row. Padding attends to padding, so that no softmax is empty.
    """
    if segments is None:
        return None
    ids = segments.cpu().numpy()
    starts = np.ones(ids.shape, dtype=bool)
    starts[:, 1:] = ids[:, 1:] != ids[:, :-1]
    if starts.sum() == len(ids):
        return None
    return _lay_out(starts.reshape(-1), segments.device)


def _lay_out(starts: np.ndarray, device: torch.device) -> Plan:
    """Batches by length rounded up to powers of two: few calls, and most places of a batch are real."""
    first = np.flatnonzero(starts)
    lengths = np.diff(np.append(first, starts.size))
    rounded = np.maximum(np.ceil(np.log2(lengths)), np.log2(SHORTEST_GROUP))
    shapes, index, real = [], [], []
    for size in np.unique(rounded):
        chosen = np.flatnonzero(rounded == size)
        steps, own = np.arange(lengths[chosen].max()), lengths[chosen, None]
        shapes.append((len(chosen), len(steps)))
        real.append((steps < own).reshape(-1))
        index.append((first[chosen, None] + np.minimum(steps, own - 1)).reshape(-1))
    places, is_real = np.concatenate(index), np.concatenate(real)
    inverse = np.empty(starts.size, dtype=np.int64)
    inverse[places[is_real]] = np.flatnonzero(is_real)
    return Plan(
        shapes=tuple(shapes),
        index=torch.from_numpy(places).to(device),
        inverse=torch.from_numpy(inverse).to(device),
        real=torch.from_numpy(is_real.reshape(-1, 1, 1)).to(device),
    )


def attend(q: Tensor, k: Tensor, v: Tensor, how: Plan | None, scale: float) -> Tensor:
    """Softmax attention: q [B, T, H, D], k [B, T, G, D], v [B, T, G, E] -> [B, T, H, E]; H a multiple of G, E <= D."""
    if how is None:
        return _rows(q, k, v, scale)
    batch, length, heads, _ = q.shape
    laid_out = [take_rows(x.flatten(0, 1), how.index, how.inverse, None) for x in (q, k, v)]
    outputs, start = [], 0
    for rows, width in how.shapes:
        batch_q, batch_k, batch_v = (x[start : start + rows * width].unflatten(0, (rows, width)) for x in laid_out)
        outputs.append(_rows(batch_q, batch_k, batch_v, scale).flatten(0, 1))
        start += rows * width
    return take_rows(torch.cat(outputs), how.inverse, how.index, how.real).view(batch, length, heads, -1)


def _rows(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """Attention within rows; values narrower than keys (MLA) are widened, since fused kernels want equal widths."""
    width = v.shape[-1]
    out = F.scaled_dot_product_attention(
        q.transpose(1, 2),
        k.transpose(1, 2),
        F.pad(v, (0, q.shape[-1] - width)).transpose(1, 2),
        is_causal=True,
        scale=scale,
        enable_gqa=q.shape[2] != k.shape[2],
    )
    return out.transpose(1, 2)[..., :width]
