"""Multi-head latent attention (MLA, arXiv 2405.04434, section 2.1), without a query latent.

Keys and values are made from one narrow latent, and positions ride on a separate rotary part whose key all heads share.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.models.attention import attend
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

    def forward(self, x: Tensor, tables: Tables, how: Documents | None) -> Tensor:
        """Shape [B, T, H] -> [B, T, H]."""
        cos, sin = tables.of(False)
        x = for_products(x)
        q_nope, q_rotary = self.q_proj(x).unflatten(-1, (self.heads, -1)).split([self.nope, self.rotary_dim], dim=-1)
        latent, k_rotary = self.kv_a_proj_with_mqa(x).split([self.latent, self.rotary_dim], dim=-1)
        k_nope, v = (
            self.kv_b_proj(self.kv_a_layernorm(latent))
            .unflatten(-1, (self.heads, -1))
            .split([self.nope, self.value], dim=-1)
        )
        q_rotary = rotate(q_rotary, cos, sin, interleaved=True)
        k_rotary = rotate(k_rotary[:, :, None], cos, sin, interleaved=True).expand(-1, -1, self.heads, -1)
        q, k = torch.cat((q_nope, q_rotary), dim=-1), torch.cat((k_nope, k_rotary), dim=-1)
        if (
            wider := self.value - q.shape[-1]
        ) > 0:  # kernels want values no wider than keys; zeros add nothing to scores
            q, k = F.pad(q, (0, wider)), F.pad(k, (0, wider))
        scale = (self.nope + self.rotary_dim) ** -0.5 * tables.scores
        return self.o_proj(attend(q, k, v, how, scale).flatten(-2))
