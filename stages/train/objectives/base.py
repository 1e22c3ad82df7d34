"""What the loop asks of an objective, and what most objectives share: rows of tokens in logical micro-batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stages.contract.ledger import Step
from stages.models.documents import Documents
from stages.models.kimi_vl import Batch, places
from stages.models.ops.labels import IGNORED
from stages.models.transfer import positions, to_device
from stages.models.vision_packing import Grid, pack
from stages.spec.resolved import Stage
from stages.spec.resolved_models import LANGUAGE_MODELS
from stages.spec.resolved_parallel import computes_in_bf16
from stages.spec.resolved_phases import Phase
from stages.train.reduce import Gradients

if TYPE_CHECKING:
    from stages.data.loading.sample import Sample


class Objective(Protocol):
    """One phase's loss. Every number that a part returns is normalised over the whole step, so that parts add up."""

    stage: Stage
    extras: tuple[str, ...]  # metric columns of this objective, in the order of the values that a part returns

    def begin(self, step: Step) -> int:
        """Take the step's data and do what needs the whole batch first; return its number of micro-batches.

        Every rank reads the whole step: what the loss is divided by is known, and the log of reads is complete.
        """

    def close(self) -> None:
        """End what prepares the steps' data; no step begins after this."""

    def part(self, index: int) -> tuple[Tensor, list[Tensor]]:
        """Loss of one micro-batch of this rank, to be differentiated, and its detached share of each extra column."""

    def whole_batch(self) -> Gradients | None:
        """Gradients that no single micro-batch has, in the order of the trained parameters; None: there are none."""

    def whole_values(self) -> dict[str, Tensor]:
        """Extra columns that no single micro-batch has, once all parts are done."""

    def supervised(self) -> int:
        """How many targets the step's loss was divided by: tokens, or caption tokens."""

    def finish(self) -> None:
        """Do what follows the optimizer's step (balancing a router)."""


@dataclass(frozen=True)
class Rows:
    """A logical micro-batch: the model's input, and labels int64 [B, T] (-100: not supervised)."""

    batch: Batch
    labels: Tensor
    supervised: Tensor | None  # int64 [n]: positions of B * T with a label; None: all of them

    def to(self, device: torch.device) -> Rows:
        """The same on a device."""
        supervised = None if self.supervised is None else to_device(self.supervised, device)
        return Rows(self.batch.to(device), to_device(self.labels, device), supervised)


HOST = torch.device("cpu")


def cut(count: int, size: int) -> list[range]:
    """Logical micro-batches: `size` samples each, in order; the last one takes what is left."""
    return [range(first, min(first + size, count)) for first in range(0, count, size)]


def collate(samples: Sequence[Sample], phase: Phase, patch: int | None, device: torch.device) -> Rows:
    """Stack samples, padding shorter ones behind; pixels are packed when the stage has a vision tower.

    What a forward pass has to know on the host (documents, where images and labels are) is made of the samples here.
    """
    width, image = max(len(sample.tokens) for sample in samples), samples[0].image

    def stack(rows: Sequence[NDArray[Any]], fill: int) -> NDArray[Any]:
        table = np.full((len(rows), width), fill, dtype=rows[0].dtype)
        for row, values in zip(table, rows, strict=True):
            row[: len(values)] = values
        return table

    images = [image.pixels for sample in samples for image in sample.images]
    pixels: Tensor | None = None
    grids: list[Grid] = []
    if images and patch is not None:
        pixels, grids = pack(images, patch)
        pixels = to_device(pixels, device)
    tokens = stack([sample.tokens for sample in samples], samples[0].fill)
    labels = stack([sample.labels for sample in samples], IGNORED)
    segments = stack([sample.segments for sample in samples], -1)
    if not phase.document_mask:
        segments = np.minimum(segments, 0)  # one document a row; padding stays apart, since a router counts tokens
    hides = phase.document_mask or bool((segments < 0).any())
    batch = Batch(
        tokens=to_device(tokens, device),
        positions=to_device(stack([sample.positions for sample in samples], 0), device),
        documents=Documents(segments, device) if hides else None,
        pixels=pixels,
        grids=grids,
        places=None if patch is None or image is None else places(tokens, image, device),
    )
    return Rows(batch, to_device(labels, device), positions(labels != IGNORED, device))


def patch_size(stage: Stage) -> int | None:
    """Patch size of the stage's vision tower, if it has one."""
    return None if stage.tower is None else stage.tower.patch


def language_model(stage: Stage, modules: nn.ModuleDict) -> nn.Module:
    """The stage's language model."""
    return next(modules[name] for name, cfg in stage.modules.items() if cfg.family in LANGUAGE_MODELS)


def precision(stage: Stage, kept: bool = True) -> AbstractContextManager[object]:
    """What the forward pass runs in: bf16 where the stage's engine class says so, its fp32 weights as masters. Rounded
    weights are kept until its end, or with `kept` False made where they are read: the same numbers, in less memory.
    """
    bf16 = computes_in_bf16(stage.engine_class)
    return torch.autocast(stage.execution.device, dtype=torch.bfloat16, enabled=bf16, cache_enabled=kept)


@contextmanager
def weights_rounded_once(stage: Stage) -> Iterator[None]:
    """`precision` within this rounds each trained weight once for all micro-batches, not once for each.

    Not where layers are computed again: between a forward pass and its backward pass they need no rounded weights, and
    those take 2 bytes a parameter. Weights must not change within, and no pass may run without gradients: autocast
    would give its weights, which have no history, to the next one.
    """
    if stage.execution.recomputes:
        yield
        return
    torch.autocast_increment_nesting()  # autocast forgets what it rounded where the outermost of its contexts ends
    try:
        yield
    finally:
        torch.autocast_decrement_nesting()
        torch.clear_autocast_cache()
