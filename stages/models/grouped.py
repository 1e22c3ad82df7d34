"""Attention whose key and value heads are shared by groups of query heads (arXiv 2305.13245), with a family's parts."""

from __future__ import annotations

from torch import Tensor, nn

from stages.models.attention import Sight, attend_in
from stages.models.common import RMSNorm, for_products
from stages.models.documents import Documents
from stages.models.ops import rotate
from stages.models.rotary import Tables
from stages.spec.decoder import Decoder, Grouped


class GroupedQueryAttention(nn.Module):
    """Queries, keys and values, biased or not; normed per head or over all heads, or not; then rotated."""

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

    def forward(self, x: Tensor, tables: Tables, how: Documents | None) -> Tensor:
        """Shape [B, T, H] -> [B, T, H]."""
        one, x = self.cfg, for_products(x)
        q, k, v = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        if one.qk_norm == "whole":
            q, k = self.q_norm(q), self.k_norm(k)
        q, k, v = (heads.unflatten(-1, (-1, one.head_dim)) for heads in (q, k, v))
        if one.qk_norm == "head":
            q, k = self.q_norm(q), self.k_norm(k)
        cos, sin = tables.of(one.local)
        q, k = (rotate(heads, cos, sin, interleaved=False) for heads in (q, k))
        if one.qk_norm is not None:  # norms are in fp32
            q, k = for_products(q), for_products(k)
        return self.o_proj(attend_in(q, k, v, how, self.sight).flatten(-2))
