"""Multi-head latent attention (MLA, arXiv 2405.04434, section 2.1), without a query latent.

Keys and values are made from one narrow latent, and positions ride on a separate rotary part whose key all heads share.

Shapes: B rows, T positions, D the model's width, C the latent's, H heads; of one head, N the width of keys without
position, R of their rotary part, K of both, E of values.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stages.models.attention import attend, widened
from stages.models.common import RMSNorm, for_products
from stages.models.documents import Documents
from stages.models.ops import rotate
from stages.models.rotary import Tables
from stages.spec.decoder import Decoder, Latent


class LatentAttention(nn.Module):
    """MLA without a query latent; rotary pairs are interleaved, as in DeepSeek-V3."""

    def __init__(self, model: Decoder, one: Latent) -> None:
        super().__init__()
        self.heads, self.nope, self.rotary_dim, self.value = one.heads, one.nope, one.rope, one.value
        self.latent = one.rank
        self.q_proj = nn.Linear(model.hidden, one.heads * (self.nope + self.rotary_dim), bias=False)
        self.kv_a_proj_with_mqa = nn.Linear(model.hidden, self.latent + self.rotary_dim, bias=False)
        self.kv_a_layernorm = RMSNorm(self.latent, one.eps)
        self.kv_b_proj = nn.Linear(self.latent, one.heads * (self.nope + self.value), bias=False)
        self.o_proj = nn.Linear(one.heads * self.value, model.hidden, bias=False)

    def forward(self, x_BTD: Tensor, tables: Tables, how: Documents | None) -> Tensor:
        """Shape [B, T, D] -> [B, T, D]."""
        cos, sin = tables.of(False)
        x_BTD = for_products(x_BTD)
        q_nope_BTHN, q_rotary_BTHR = (
            self.q_proj(x_BTD).unflatten(-1, (self.heads, -1)).split([self.nope, self.rotary_dim], dim=-1)
        )
        latent_BTC, k_rotary_BTR = self.kv_a_proj_with_mqa(x_BTD).split([self.latent, self.rotary_dim], dim=-1)
        k_nope_BTHN, v_BTHE = (
            self.kv_b_proj(self.kv_a_layernorm(latent_BTC))
            .unflatten(-1, (self.heads, -1))
            .split([self.nope, self.value], dim=-1)
        )
        q_rotary_BTHR = rotate(q_rotary_BTHR, cos, sin, interleaved=True)
        k_rotary_BTHR = rotate(k_rotary_BTR[:, :, None], cos, sin, interleaved=True).expand(-1, -1, self.heads, -1)
        q_BTHK, k_BTHK = (
            torch.cat((q_nope_BTHN, q_rotary_BTHR), dim=-1),
            torch.cat((k_nope_BTHN, k_rotary_BTHR), dim=-1),
        )
        q_BTHK, k_BTHK = widened(q_BTHK, self.value), widened(k_BTHK, self.value)
        # By the width of keys before zeros were added.
        scale = (self.nope + self.rotary_dim) ** -0.5 * tables.scores
        return self.o_proj(attend(q_BTHK, k_BTHK, v_BTHE, how, scale).flatten(-2))
