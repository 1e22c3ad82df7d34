"""Attention whose key and value heads are shared by groups of query heads (arXiv 2305.13245), with a family's parts.

Shapes: B rows, T positions, D the model's width, H query heads, G key heads, K a head's width.
"""

from __future__ import annotations

from torch import Tensor, nn

from stages.models.attention import Sight, attend_in
from stages.models.common import RMSNorm, for_products
from stages.models.documents import Documents
from stages.models.ops import rotate
from stages.models.rotary import Tables
from stages.spec.decoder import Decoder, Grouped


class GroupedQueryAttention(nn.Module):
    """Queries, keys and values, biased or not; normed per head or over all heads, or not; then rotated, or not."""

    def __init__(self, model: Decoder, one: Grouped) -> None:
        super().__init__()
        self.cfg, self.sight = one, Sight(one.scale, one.window, one.softcap)
        queries, keys = one.heads * one.head_dim, one.kv_heads * one.head_dim
        self.q_proj = nn.Linear(model.hidden, queries, bias=one.qkv_bias)
        self.k_proj = nn.Linear(model.hidden, keys, bias=one.qkv_bias)
        self.v_proj = nn.Linear(model.hidden, keys, bias=one.qkv_bias)
        self.o_proj = nn.Linear(queries, model.hidden, bias=False)
        if one.qk_norm is not None:
            whole = one.qk_norm == "whole"
            self.q_norm = RMSNorm(queries if whole else one.head_dim, model.eps, model.gain_offset)
            self.k_norm = RMSNorm(keys if whole else one.head_dim, model.eps, model.gain_offset)

    def forward(self, x_BTD: Tensor, tables: Tables, how: Documents | None) -> Tensor:
        """Shape [B, T, D] -> [B, T, D]."""
        one, x_BTD = self.cfg, for_products(x_BTD)
        q, k, v = self.q_proj(x_BTD), self.k_proj(x_BTD), self.v_proj(x_BTD)
        if one.qk_norm == "whole":
            q, k = self.q_norm(q), self.k_norm(k)
        q_BTHK, k_BTGK, v_BTGK = (heads.unflatten(-1, (-1, one.head_dim)) for heads in (q, k, v))
        if one.qk_norm == "head":
            q_BTHK, k_BTGK = self.q_norm(q_BTHK), self.k_norm(k_BTGK)
        if one.turned:
            cos, sin = tables.of(one.local)
            q_BTHK, k_BTGK = (rotate(heads, cos, sin, interleaved=False) for heads in (q_BTHK, k_BTGK))
        if one.qk_norm is not None:  # norms are in fp32
            q_BTHK, k_BTGK = for_products(q_BTHK), for_products(k_BTGK)
        return self.o_proj(attend_in(q_BTHK, k_BTGK, v_BTGK, how, self.sight).flatten(-2))
