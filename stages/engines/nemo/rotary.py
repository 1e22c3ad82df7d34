"""Rotary angles from the positions of a batch, as the torch engine takes them.

Core's own embedding numbers a row from 0 to its end. Attention within documents is the same up to rounding, but the
rounding of an fp32 angle grows with the position: at a million tokens a document's last digits would be those of the
row's end, and not of its own beginning.
"""

from __future__ import annotations

from torch import Tensor


def angles(positions: Tensor, inv_freq: Tensor) -> Tensor:
    """Angles fp32 [T, B, 1, D], as Core's layers take them, of positions int64 [B, T]; inv_freq fp32 [D / 2].

    Positions are those of a context-parallel rank's own tokens: nothing is left for Core to cut.
    """
    half = positions.T[..., None, None].float() * inv_freq.to(positions.device)
    return half.repeat(1, 1, 1, 2)
