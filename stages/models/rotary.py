"""Rotary positions (Su et al. 2021, arXiv 2104.09864): tables in fp32 from the contract's float64 frequencies.

Shapes: B rows, T positions, P rotated pairs, half of `dim`; 1 stands for the heads, which all turn alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from stages.contract.rope import attention_factor, inv_freq, score_factor
from stages.models.transfer import to_device
from stages.spec.resolved_models import Rope


@dataclass(frozen=True)
class Tables:
    """cos and sin, fp32 [B, T, 1, dim / 2], and of the second base, for layers whose attention is local.

    `scores`: what latent attention's scores are multiplied by, besides 1/sqrt(width).
    """

    main: tuple[Tensor, Tensor]
    local: tuple[Tensor, Tensor] | None = None
    scores: float = 1.0

    def of(self, local: bool) -> tuple[Tensor, Tensor]:
        """Those of one kind of layer. Raises ValueError for local ones of a model without a second base."""
        if not local:
            return self.main
        if self.local is None:
            raise ValueError("a layer with local attention, in a model without a second rotary base")
        return self.local


class Rotary:
    """Frequencies of one model, kept as plain numbers.

    They are not a module's buffer on purpose: casting a model to bf16 or moving it off the meta device rounds or
    corrupts buffers, and half-precision positions become NaN on long contexts (Megatron-DeepSpeed issue 399).
    """

    def __init__(self, rope: Rope, dim: int) -> None:
        self.rope, self.dim = rope, dim
        self._frequencies = tuple(inv_freq(rope, dim))
        self.attention_factor, self.score_factor = attention_factor(rope), score_factor(rope)
        self._placed: dict[torch.device, Tensor] = {}

    @property
    def inv_freq(self) -> Tensor:
        """Frequencies in radians per position, fp32 [dim / 2]: what an engine reads back."""
        return torch.tensor(self._frequencies, dtype=torch.float64, device="cpu").float()

    def tables(self, positions_BT: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin, fp32 [B, T, 1, dim / 2], of positions int64 [B, T], times YaRN's attention factor.

        Angles are products in fp32, as in transformers, so that exported weights give the same logits there.
        """
        frequencies_P = self._placed.get(positions_BT.device)
        if frequencies_P is None:
            frequencies_P = self._placed[positions_BT.device] = to_device(self.inv_freq, positions_BT.device)
        angles_BT1P = positions_BT[..., None, None].float() * frequencies_P
        cos_BT1P, sin_BT1P = angles_BT1P.cos(), angles_BT1P.sin()
        if self.attention_factor != 1.0:
            cos_BT1P, sin_BT1P = cos_BT1P * self.attention_factor, sin_BT1P * self.attention_factor
        return cos_BT1P, sin_BT1P
