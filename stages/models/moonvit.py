"""MoonViT (Kimi-VL report, arXiv 2504.07491, section 2.1): a ViT on packed images of native resolution.

Parameter names are those of MoonshotAI's published code, except that the patch embedding is a linear layer on
flattened patches: the published Conv2d weight [hidden, channels, patch, patch] reshaped to [hidden, C].

Shapes: N patches of all images, C numbers of a patch (channels * patch^2), D the tower's width, H heads, K a head's
width, P rotated pairs of a head; I images of a group, L patches of each of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.models.attention import spans
from stages.models.layers import Layers
from stages.models.moonvit_positions import PositionTable, rotate, rotation
from stages.models.ops import choice
from stages.models.transfer import to_device
from stages.models.vision_packing import Grid, Plan, plan
from stages.spec.resolved_models import MoonViTModel


class _Mlp(nn.Module):
    def __init__(self, hidden: int, ffn: int) -> None:
        super().__init__()
        self.fc0 = nn.Linear(hidden, ffn)
        self.fc1 = nn.Linear(ffn, hidden)

    def forward(self, x_ND: Tensor) -> Tensor:
        return self.fc1(F.gelu(self.fc0(x_ND), approximate="tanh"))


class _Layer(nn.Module):
    def __init__(self, cfg: MoonViTModel) -> None:
        super().__init__()
        self.heads = cfg.heads
        self.norm0 = nn.LayerNorm(cfg.hidden, eps=cfg.norm_eps)
        self.norm1 = nn.LayerNorm(cfg.hidden, eps=cfg.norm_eps)
        self.wqkv = nn.Linear(cfg.hidden, 3 * cfg.hidden)
        self.wo = nn.Linear(cfg.hidden, cfg.hidden)
        self.mlp = _Mlp(cfg.hidden, cfg.ffn)

    def forward(self, x_ND: Tensor, cos_NP: Tensor, sin_NP: Tensor, how: Plan) -> Tensor:
        x_ND = x_ND + self._attention(self.norm0(x_ND), cos_NP, sin_NP, how)
        return x_ND + self.mlp(self.norm1(x_ND))

    def _attention(self, x_ND: Tensor, cos_NP: Tensor, sin_NP: Tensor, how: Plan) -> Tensor:
        q_NHK, k_NHK, v_NHK = self.wqkv(x_ND).view(x_ND.shape[0], 3, self.heads, -1).unbind(1)
        q_NHK, k_NHK = rotate(q_NHK, cos_NP, sin_NP), rotate(k_NHK, cos_NP, sin_NP)
        if choice.attention(q_NHK.device.type, q_NHK.dtype, q_NHK.shape[-1], choice.features()) == "flash_varlen":
            return self.wo(spans(q_NHK, k_NHK, v_NHK, how.spans, q_NHK.shape[-1] ** -0.5, causal=False).flatten(1))
        seen = []
        for group in how.groups:
            qkv_IHLK = [group.of(part).transpose(1, 2) for part in (q_NHK, k_NHK, v_NHK)]
            seen.append(F.scaled_dot_product_attention(*qkv_IHLK).transpose(1, 2).reshape(-1, x_ND.shape[1]))
        return self.wo(torch.cat(seen))


class _PatchEmbed(nn.Module):
    def __init__(self, cfg: MoonViTModel) -> None:
        super().__init__()
        self.proj = nn.Linear(cfg.channels * cfg.patch * cfg.patch, cfg.hidden)
        self.pos_emb = PositionTable(cfg.table, cfg.hidden)

    def forward(self, pixels_NC: Tensor, grids: Sequence[Grid]) -> Tensor:
        positions = {grid: self.pos_emb(grid) for grid in dict.fromkeys(grids)}
        return self.proj(pixels_NC) + torch.cat([positions[grid] for grid in grids])


class _Encoder(nn.Module):
    def __init__(self, cfg: MoonViTModel) -> None:
        super().__init__()
        self.blocks = Layers(_Layer(cfg) for _ in range(cfg.layers))
        self.final_layernorm = nn.LayerNorm(cfg.hidden, eps=cfg.norm_eps)


class MoonViT(nn.Module):
    """The vision tower: patches of several images in, one feature vector for each patch out."""

    def __init__(self, cfg: MoonViTModel) -> None:
        super().__init__()
        self.cfg = cfg
        self.patch_embed = _PatchEmbed(cfg)
        self.encoder = _Encoder(cfg)

    def forward(self, pixels_NC: Tensor, grids: Sequence[Grid]) -> Tensor:
        """Features [N, D] of packed patches of images with these grids (h, w).

        At least one image. No patch sees another image. Raises UserError when grids and patches do not add up.
        """
        how = plan(grids, pixels_NC)
        head_dim = self.cfg.hidden // self.cfg.heads
        turns = [rotation(grid, head_dim, self.cfg.rope_base) for grid in grids]
        cos_NP, sin_NP = (how.sort(to_device(torch.cat(parts), pixels_NC.device)) for parts in zip(*turns, strict=True))
        x_ND = how.sort(self.patch_embed(pixels_NC, grids))
        x_ND = self.encoder.blocks.through(x_ND, cos_NP, sin_NP, how)
        return how.restore(self.encoder.final_layernorm(x_ND))
