"""Masks of attention that has no kernel for what it sees: of windows, and of capped scores.

A mask says only how far a key is back, so that of a shorter row is the beginning of that of a longer one. All layers
and rows share the longest mask so far, and no other is kept; `stages plan` counts it.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

ALIGNED = 64  # elements: rows of a mask begin where memory-efficient attention reads them without a copy


def unseen(length: int, window: int | None, dtype: torch.dtype, device: torch.device) -> Tensor:
    """What is added to scores [T, T], of T = `length`: 0 where a query sees a key, minus infinity elsewhere.

    `window` is how many keys a query sees, its own among them; None: all before it.
    """
    longest = _longest(window, dtype, device)
    if len(longest[0]) < length:
        longest[0] = _made(-(-length // ALIGNED) * ALIGNED, window, dtype, device)
    return longest[0][:length, :length]


@lru_cache(maxsize=4)  # a model has layers with a window and layers without
def _longest(window: int | None, dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    return [torch.empty(0, 0, dtype=dtype, device=device)]


def _made(length: int, window: int | None, dtype: torch.dtype, device: torch.device) -> Tensor:
    places_T = torch.arange(length, device=device)
    back_TT = places_T[:, None] - places_T  # from a query back to a key: below 0, the key is a later one
    unseen_TT = (back_TT < 0) | (back_TT >= (window or length))
    return torch.zeros(length, length, dtype=dtype, device=device).masked_fill(unseen_TT, -torch.inf)
