"""Kimi-VL's vision tower and projector next to Megatron-Core's embedding, on the first pipeline stage.

They are the torch engine's own modules, whole on every rank of that stage and in fp32, computed in the model's
precision as there. Every tensor-parallel rank computes the features of its replica's images, and has the gradient of
all positions; a context-parallel rank computes them all too, and takes those of its own positions.

With `recompute: full` images are computed in groups, each of which keeps its pixels alone and is computed again for its
gradients, one group at a time: a row of 128K positions has 262,144 patches, whose layers' inputs alone are 34 GB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from megatron.core.tensor_parallel import scatter_to_sequence_parallel_region
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from stages.contract.memory_nemo import PATCHES
from stages.data.document import PAD
from stages.engines.nemo import moonlight
from stages.engines.nemo.context import own
from stages.engines.nemo.data import Micro
from stages.engines.nemo.precision import same_type
from stages.models.build import make
from stages.models.kimi_vl import Places, place_images
from stages.models.layers import recompute
from stages.models.transfer import to_device
from stages.models.vision_packing import Grid, pack
from stages.spec.families.moonlight import MoonlightModel
from stages.spec.resolved import Stage
from stages.spec.resolved_models import MoonViTModel, ProjectorModel
from stages.spec.resolved_parallel import computes_in_bf16


class Vision(nn.Module):
    """Images to features in the place of their tokens; undefined weights."""

    def __init__(self, stage: Stage, tower: MoonViTModel, projector: ProjectorModel) -> None:
        super().__init__()
        self.vit = make(tower, None, "cpu")
        self.projector = make(projector, None, "cpu")
        self.patch, self._bf16 = tower.patch, computes_in_bf16(stage.engine_class)
        for name in ("vit", "projector"):
            self.get_submodule(name).requires_grad_(name in stage.trained)
        recompute(self, False)  # layers keep everything: it is whole groups of images that are computed again
        self._again = stage.execution.parallel is not None and stage.execution.parallel.layers_again

    def forward(self, pixels: Tensor, grids: Sequence[Grid]) -> Tensor:
        """Features [M, H] of packed patches [N, channels * patch^2], one for every image token."""
        if not self._again:
            return self._features(pixels, grids)
        found, start = [], 0
        for group in grouped(grids, PATCHES):
            end = start + sum(height * width for height, width in group)
            found.append(self._group(pixels[start:end], group))
            start = end
        return torch.cat(found)

    def _group(self, pixels: Tensor, grids: Sequence[Grid]) -> Tensor:
        if not torch.is_grad_enabled():
            return self._features(pixels, grids)
        found: Tensor = checkpoint(self._features, pixels, grids, use_reentrant=False, preserve_rng_state=False)
        return found

    def _features(self, pixels: Tensor, grids: Sequence[Grid]) -> Tensor:
        with torch.autocast(pixels.device.type, dtype=torch.bfloat16, enabled=self._bf16):
            found: Tensor = self.projector(self.vit(pixels, grids), grids)
            return found

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Vision:
        return super()._apply(same_type(fn), recurse)


def grouped(grids: Sequence[Grid], most: int) -> Iterator[list[Grid]]:
    """Images in their order, in groups of at most so many patches; a larger one is a group of its own."""
    group: list[Grid] = []
    patches = 0
    for height, width in grids:
        if group and patches + height * width > most:
            yield group
            group, patches = [], 0
        group.append((height, width))
        patches += height * width
    if group:
        yield group


def complete(stage: Stage, cfg: MoonlightModel, provider: Any) -> None:
    """Give Bridge's provider Moonlight's layers, and its first pipeline stage the tower and the projector."""
    tower, projector = stage.modules["vit"], stage.modules["projector"]
    if not isinstance(tower, MoonViTModel) or not isinstance(projector, ProjectorModel):
        raise ValueError(f"{stage.ref}: vit is {tower.family}, projector is {projector.family}")

    def see(chunks: list[Any]) -> list[Any]:
        for chunk in chunks:
            if chunk.pre_process:
                chunk.vision = Vision(stage, tower, projector)
        return chunks

    moonlight.complete(stage, cfg, provider)
    provider.register_pre_wrap_hook(see)


def embed(model: Any, micro: Micro) -> Tensor:
    """Input of the first layer [s, B, H], this rank's share: token embeddings with images' features in place.

    Without images the tower does not run, and gets no gradient. Raises UserError where images and tokens disagree.
    """
    device, groups = micro.tokens.device, model.pg_collection
    images = [image.pixels for sample in micro.samples for image in sample.images]
    features: Tensor | None = None
    if images:
        pixels, grids = pack(images, model.vision.patch)
        features = model.vision(to_device(pixels, device), grids)
    embeddings = model.embedding(input_ids=micro.tokens, position_ids=micro.positions).transpose(0, 1).contiguous()
    image = micro.samples[0].image if micro.samples else None
    where = None if image is None else places(rows(micro) == image, groups.cp.rank(), groups.cp.size())
    placed = place_images(embeddings, features, None if where is None else where.to(device)).transpose(0, 1)
    if not model.config.sequence_parallel:
        return placed.contiguous()
    return scatter_to_sequence_parallel_region(placed.contiguous(), group=groups.tp)


def rows(micro: Micro) -> NDArray[np.int64]:
    """Tokens [B, T] of whole rows, also where this rank has some of the positions only."""
    found = np.full(micro.segments.shape, PAD, dtype=np.int64)
    for row, sample in zip(found, micro.samples, strict=False):
        row[: len(sample.tokens)] = sample.tokens
    return found


def places(images: NDArray[np.bool_], rank: int, ranks: int) -> Places | None:
    """Where the features of all images go among a context-parallel rank's positions, on the host; `images` [B, T] says
    which tokens are theirs.

    None where the rows have no image tokens.
    """
    taken = torch.from_numpy(images)
    count = int(taken.sum())
    if not count:
        return None
    number = taken.flatten().cumsum(0).view(taken.shape) - 1
    mine, numbers = own(taken, rank, ranks).flatten(), own(number, rank, ranks).flatten()
    at = mine.nonzero().flatten()
    here = torch.zeros(count, 1, dtype=torch.bool)
    here[numbers[at]] = True
    inverse = torch.zeros(count, dtype=torch.int64)
    inverse[numbers[at]] = at
    return Places(torch.where(mine, numbers, 0), inverse, mine[:, None], here)
