"""MoonViT (Kimi-VL report, arXiv 2504.07491, section 2.1): a ViT on packed images of native resolution.

Parameter names are those of MoonshotAI's published code, except that the patch embedding is a linear layer on
flattened patches: the published Conv2d weight [hidden, C, patch, patch] reshaped to [hidden, C * patch * patch].
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

    def forward(self, x: Tensor) -> Tensor:
        return self.fc1(F.gelu(self.fc0(x), approximate="tanh"))


class _Layer(nn.Module):
    def __init__(self, cfg: MoonViTModel) -> None:
        super().__init__()
        self.heads = cfg.heads
        self.norm0 = nn.LayerNorm(cfg.hidden, eps=cfg.norm_eps)
        self.norm1 = nn.LayerNorm(cfg.hidden, eps=cfg.norm_eps)
        self.wqkv = nn.Linear(cfg.hidden, 3 * cfg.hidden)
        self.wo = nn.Linear(cfg.hidden, cfg.hidden)
        self.mlp = _Mlp(cfg.hidden, cfg.ffn)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, how: Plan) -> Tensor:
        x = x + self._attention(self.norm0(x), cos, sin, how)
        return x + self.mlp(self.norm1(x))

    def _attention(self, x: Tensor, cos: Tensor, sin: Tensor, how: Plan) -> Tensor:
        q, k, v = self.wqkv(x).view(x.shape[0], 3, self.heads, -1).unbind(1)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        if choice.attention(q.device.type, q.dtype, q.shape[-1], choice.features()) == "flash_varlen":
            return self.wo(spans(q, k, v, how.spans, q.shape[-1] ** -0.5, causal=False).flatten(1))
        seen = []
        for group in how.groups:
            batch = [group.of(part).transpose(1, 2) for part in (q, k, v)]  # each [images, heads, length, head_dim]
            seen.append(F.scaled_dot_product_attention(*batch).transpose(1, 2).reshape(-1, x.shape[1]))
        return self.wo(torch.cat(seen))


class _PatchEmbed(nn.Module):
    def __init__(self, cfg: MoonViTModel) -> None:
        super().__init__()
        self.proj = nn.Linear(cfg.channels * cfg.patch * cfg.patch, cfg.hidden)
        self.pos_emb = PositionTable(cfg.table, cfg.hidden)

    def forward(self, pixels: Tensor, grids: Sequence[Grid]) -> Tensor:
        positions = {grid: self.pos_emb(grid) for grid in dict.fromkeys(grids)}
        return self.proj(pixels) + torch.cat([positions[grid] for grid in grids])


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

    def forward(self, pixels: Tensor, grids: Sequence[Grid]) -> Tensor:
        """Features [N, hidden] of packed patches pixels [N, channels * patch^2] of images with these grids (h, w).

        At least one image. No patch sees another image. Raises UserError when grids and patches do not add up.
        """
        how = plan(grids, pixels)
        head_dim = self.cfg.hidden // self.cfg.heads
        turns = [rotation(grid, head_dim, self.cfg.rope_base) for grid in grids]
        cos, sin = (how.sort(to_device(torch.cat(parts), pixels.device)) for parts in zip(*turns, strict=True))
        x = how.sort(self.patch_embed(pixels, grids))
        x = self.encoder.blocks.through(x, cos, sin, how)
        return how.restore(self.encoder.final_layernorm(x))
