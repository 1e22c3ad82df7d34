"""Kimi-VL's projector between MoonViT and the language model (arXiv 2504.07491, section 2.1).

Shapes: N patches of all images, D the vision tower's width; h, w, m: rows and columns of blocks, and the side of one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.errors import UserError
from stages.models.vision_packing import Grid
from stages.spec.resolved_models import ProjectorModel


def merge_patches(features_ND: Tensor, grids: Sequence[Grid], merge: int) -> Tensor:
    """Pixel shuffle: features of packed images -> [N / merge^2, merge^2 * D], row-major in blocks.

    A block's patches are concatenated row by row, as `patch_merger` of the published code does.
    Raises UserError when a grid is no multiple of `merge`.
    """
    merged, start = [], 0
    for h, w in grids:
        if h % merge or w % merge:
            raise UserError(
                f"an image of {h} x {w} patches cannot be merged {merge} x {merge}: both sides must be multiples of "
                f"{merge}. Pad or resize the image when preparing the corpus."
            )
        blocks_hmwmD = features_ND[start : start + h * w].view(h // merge, merge, w // merge, merge, -1)
        merged.append(blocks_hmwmD.transpose(1, 2).reshape(h * w // merge**2, -1))
        start += h * w
    return torch.cat(merged)


class Projector(nn.Module):
    """LayerNorm, merge x merge pixel shuffle, linear, GELU, linear; public names (KimiVLMultiModalProjector)."""

    def __init__(self, cfg: ProjectorModel) -> None:
        super().__init__()
        self.cfg = cfg
        merged = cfg.merge**2 * cfg.vision_hidden
        self.pre_norm = nn.LayerNorm(cfg.vision_hidden, eps=cfg.norm_eps)
        self.linear_1 = nn.Linear(merged, merged)
        self.linear_2 = nn.Linear(merged, cfg.llm_hidden)

    def forward(self, features_ND: Tensor, grids: Sequence[Grid]) -> Tensor:
        """Features of packed images -> [N / merge^2, llm_hidden], one row per image token."""
        merged = merge_patches(self.pre_norm(features_ND), grids, self.cfg.merge)
        return self.linear_2(F.gelu(self.linear_1(merged)))
