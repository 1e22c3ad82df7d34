"""Small vision models and pictures that the tests of this folder and the parity tests share."""

from typing import Any

import numpy as np
import torch

from stages.models import build
from stages.spec.resolved_models import (
    CaptionDecoderModel,
    ContrastiveModel,
    MoonViTModel,
    ProjectorModel,
    TextTowerModel,
)

PUBLISHED_VIT = MoonViTModel(
    family="moonvit", layers=27, hidden=1152, ffn=4304, heads=16, patch=14, channels=3, table=64, rope_base=10_000.0,
    norm_eps=1e-5, init_std=0.02,
)  # fmt: skip
VIT = PUBLISHED_VIT.model_copy(
    update={"layers": 2, "hidden": 32, "ffn": 48, "heads": 4, "patch": 4, "channels": 1, "table": 4, "init_std": 0.2}
)
TEXT = TextTowerModel(
    family="text_tower", layers=2, hidden=32, ffn=48, heads=4, vocab=20, length=6, norm_eps=1e-6, init_std=0.2
)
CONTRASTIVE = ContrastiveModel(
    family="contrastive", hidden=32, ffn=48, heads=4, norm_eps=1e-6, init_std=0.2, init_log_temperature=2.302585,
    init_bias=-10.0,
)  # fmt: skip
DECODER = CaptionDecoderModel(
    family="caption_decoder", layers=2, hidden=16, ffn=32, heads=2, vocab=20, length=6, vision_hidden=32,
    norm_eps=1e-5, init_std=0.2,
)  # fmt: skip
PROJECTOR = ProjectorModel(
    family="projector", vision_hidden=32, merge=2, llm_hidden=24, norm_eps=1e-5, init_std=0.2
)  # fmt: skip
SIZES = [(2, 2), (4, 6), (6, 4), (4, 4), (2, 12), (2, 2), (8, 2)]  # grids in patches: mixed, some of one length


def picture(generator: np.random.Generator, grid: tuple[int, int], patch: int = 4, channels: int = 1) -> np.ndarray:
    """Random pixels [h * patch, w * patch, channels] in [-1, 1]."""
    shape = (grid[0] * patch, grid[1] * patch, channels)
    return generator.uniform(-1, 1, shape).astype(np.float32)


def pictures(seed: int, grids: list[tuple[int, int]] = SIZES) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [picture(generator, grid) for grid in grids]


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def made(cfg: Any) -> Any:
    """A module with the weights that a stage with seed 0 gives it."""
    module = build.make(cfg, None, "cpu")
    build.initialise(module, cfg.family, cfg, 0)
    return module
