"""MoonViT's two kinds of positions: a learned table interpolated to each grid, and two-dimensional rotation.

Both follow MoonshotAI's published code (modeling_kimi_vl.py; vLLM's moonvit.py is a public copy of it).

Shapes: n rows and columns of the table, h rows and w columns of a grid, N patches, D the tower's width; of a head, P
rotated pairs (half its width) and f frequencies (half of P).
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.models.transfer import to_device
from stages.models.vision_packing import Grid


@lru_cache(maxsize=1024)
def _interpolation(size: int, table: int) -> Tensor:
    """Bicubic interpolation from `table` to `size` points as a matrix [size, table].

    Bicubic interpolation is linear and separable, so a grid's positions are rows @ table @ columns.T. As matrices
    they are cached per size, and their backward is deterministic on every device, which F.interpolate's is not.
    """
    identity = torch.eye(table)[None, :, :, None].expand(1, table, table, 1)
    resized = F.interpolate(identity, size=(size, 1), mode="bicubic", align_corners=False)
    return resized[0, :, :, 0].T.contiguous()


def resized(table_nnD: Tensor, grid: Grid) -> Tensor:
    """A table of positions interpolated to a grid: [h, w, D]."""
    rows_hn, columns_wn = (to_device(_interpolation(size, len(table_nnD)), table_nnD.device) for size in grid)
    tall_hnD = torch.tensordot(rows_hn, table_nnD, dims=1)
    return torch.matmul(columns_wn, tall_hnD)


class PositionTable(nn.Module):
    """Learned positions [n, n, D], interpolated to any grid (public name: Learnable2DInterpPosEmb)."""

    def __init__(self, table: int, hidden: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(table, table, hidden))

    def forward(self, grid: Grid) -> Tensor:
        """Positions [h * w, D] of a grid, row-major; the table itself when the grid is table x table."""
        table = self.weight.shape[0]
        if grid == (table, table):
            return self.weight.flatten(end_dim=1)
        with torch.autocast(self.weight.device.type, enabled=False):  # in fp32 as the table is, so that patches are too
            return resized(self.weight, grid).flatten(end_dim=1)


@lru_cache(maxsize=1024)
def rotation(grid: Grid, head_dim: int, base: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines [h * w, P] of a grid's 2D rotary positions (computed in fp64, kept in fp32).

    Neighbouring channels (2j, 2j+1) are a pair. Pair 2i turns by x * base^(-4i / head_dim) with the column x, pair
    2i+1 by y * base^(-4i / head_dim) with the row y: x and y interleaved, as in the published code.
    """
    h, w = grid
    frequency_f = base ** (-torch.arange(0, head_dim, 4, dtype=torch.float64) / head_dim)
    x_hwf = torch.arange(w, dtype=torch.float64)[None, :, None].expand(h, w, 1) * frequency_f
    y_hwf = torch.arange(h, dtype=torch.float64)[:, None, None].expand(h, w, 1) * frequency_f
    angle_NP = torch.stack([x_hwf, y_hwf], dim=-1).reshape(h * w, head_dim // 2)
    return angle_NP.cos().float(), angle_NP.sin().float()


def rotate(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the channel pairs of states [N, heads, head_dim] by the angles of cos, sin [N, head_dim / 2]."""
    even, odd = states.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = cos[:, None], sin[:, None]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2).to(states.dtype)
