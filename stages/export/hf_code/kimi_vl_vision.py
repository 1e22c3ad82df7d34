"""Kimi-VL's vision side: MoonViT and the projector (arXiv 2504.07491, section 2.1), under the published names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Grid = tuple[int, int]  # patches: rows, columns


class PositionTable(nn.Module):
    """Learned positions [n, n, hidden], interpolated to any grid."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        shape = (config.init_pos_emb_height, config.init_pos_emb_width, config.hidden_size)
        self.weight = nn.Parameter(torch.empty(shape))

    def forward(self, grid: Grid) -> Tensor:
        """Positions [h * w, hidden] of a grid, row by row."""
        if grid == tuple(self.weight.shape[:2]):
            return self.weight.flatten(end_dim=1)
        table = self.weight.float().permute(2, 0, 1)[None]
        resized = F.interpolate(table, size=grid, mode="bicubic")[0]
        return resized.permute(1, 2, 0).flatten(end_dim=1).to(self.weight.dtype)


class PatchEmbed(nn.Module):
    """Patches [N, channels, patch, patch] to features, with their positions."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        size = config.patch_size
        self.proj = nn.Conv2d(config.num_channels, config.hidden_size, kernel_size=size, stride=size)
        self.pos_emb = PositionTable(config)

    def forward(self, patches: Tensor, grids: Sequence[Grid]) -> Tensor:
        """Features [N, hidden]."""
        return self.proj(patches).flatten(1) + torch.cat([self.pos_emb(grid) for grid in grids])


def turns(grid: Grid, dim: int, base: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines, fp32 [h * w, 1, dim / 2]: even pairs turn with the column, odd ones with the row."""
    height, width = grid
    frequency = base ** (-torch.arange(0, dim, 4, dtype=torch.float64) / dim)
    x = torch.arange(width, dtype=torch.float64)[None, :, None].expand(height, width, 1) * frequency
    y = torch.arange(height, dtype=torch.float64)[:, None, None].expand(height, width, 1) * frequency
    angle = torch.stack([x, y], dim=-1).reshape(height * width, 1, dim // 2)
    return angle.cos().float(), angle.sin().float()


class Mlp(nn.Module):
    """Two linear layers with the tanh form of GELU between them."""

    def __init__(self, hidden: int, ffn: int) -> None:
        super().__init__()
        self.fc0 = nn.Linear(hidden, ffn)
        self.fc1 = nn.Linear(ffn, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Shape [N, hidden] -> [N, hidden]."""
        return self.fc1(F.gelu(self.fc0(x), approximate="tanh"))


class Block(nn.Module):
    """Pre-norm block; every patch sees its whole image and no other."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.norm0 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.wqkv = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.wo = nn.Linear(config.hidden_size, config.hidden_size)
        self.mlp = Mlp(config.hidden_size, config.intermediate_size)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, lengths: list[int]) -> Tensor:
        """Shape [N, hidden] -> [N, hidden]; `lengths` are the patches of each image."""
        q, k, v = self.wqkv(self.norm0(x)).view(len(x), 3, self.heads, -1).unbind(1)
        q, k = (_rotate(part, cos, sin) for part in (q, k))
        seen = [
            F.scaled_dot_product_attention(*(part.transpose(0, 1)[None] for part in image))[0].transpose(0, 1)
            for image in zip(*(part.split(lengths) for part in (q, k, v)), strict=True)
        ]
        x = x + self.wo(torch.cat(seen).flatten(1))
        return x + self.mlp(self.norm1(x))


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2).to(x.dtype)


class Encoder(nn.Module):
    """Blocks and a norm."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.final_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)


class VisionTower(nn.Module):
    """MoonViT on packed images of any size."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.head_dim, self.base = config.hidden_size // config.num_attention_heads, config.rotary_base
        self.patch_embed = PatchEmbed(config)
        self.encoder = Encoder(config)

    def forward(self, patches: Tensor, grids: Sequence[Grid]) -> Tensor:
        """Features [N, hidden] of packed patches [N, channels, patch, patch] of images with these grids."""
        x = self.patch_embed(patches, grids)
        found = [turns(grid, self.head_dim, self.base) for grid in grids]
        cos, sin = (torch.cat(parts).to(x.device) for parts in zip(*found, strict=True))
        for block in self.encoder.blocks:
            x = block(x, cos, sin, [height * width for height, width in grids])
        return self.encoder.final_layernorm(x)


class Projector(nn.Module):
    """LayerNorm, pixel shuffle, linear, GELU, linear."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        vision = config.vision_config
        self.merge = tuple(vision.merge_kernel_size)
        merged = vision.hidden_size * self.merge[0] * self.merge[1]
        self.pre_norm = nn.LayerNorm(vision.hidden_size, eps=config.projector_norm_eps)
        self.linear_1 = nn.Linear(merged, merged)
        self.linear_2 = nn.Linear(merged, config.text_config.hidden_size)

    def forward(self, features: Tensor, grids: Sequence[Grid]) -> Tensor:
        """Features [N, hidden] -> [N / merge^2, hidden of the language model], one for each image token."""
        rows, columns = self.merge
        images = self.pre_norm(features).split([height * width for height, width in grids])
        blocks = [
            image.view(height // rows, rows, width // columns, columns, -1).transpose(1, 2)
            for image, (height, width) in zip(images, grids, strict=True)
        ]
        merged = torch.cat([one.reshape(-1, self.linear_1.in_features) for one in blocks])
        return self.linear_2(F.gelu(self.linear_1(merged)))
