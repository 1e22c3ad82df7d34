"""Kimi-VL: image features in the token stream of the language model (arXiv 2504.07491, section 2.1).

An image takes as many `image_token` tokens as its merged patches; a video is its frames, one image after another.

Shapes: B rows, T positions, N positions of all rows, M features of all images, D the language model's width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stages.errors import UserError
from stages.models.common import take_rows
from stages.models.documents import Documents
from stages.models.transfer import to_device
from stages.models.vision_packing import Grid


@dataclass(frozen=True)
class Places:
    """Where the features of images go among N positions: one for every image token, in order."""

    index: Tensor  # int64 [N]: the feature that each position takes (0 where it takes none)
    inverse: Tensor  # int64 [M]: the position of each feature
    taken: Tensor  # bool [N, 1]: whether the position takes one
    here: Tensor | None = None  # bool [M, 1]: False where a feature's position is another rank's; None: all are here

    @property
    def count(self) -> int:
        """Image tokens."""
        return len(self.inverse)

    def to(self, device: torch.device) -> Places:
        """The same on a device."""
        parts = (self.index, self.inverse, self.taken, self.here)
        return Places(*(None if part is None else to_device(part, device) for part in parts))


def places(tokens: NDArray[np.int64], image_token: int, device: torch.device) -> Places | None:
    """The image tokens of tokens [B, T], which the host has; None where there are none."""
    taken = (tokens == image_token).reshape(-1)
    if not taken.any():
        return None
    index = np.where(taken, np.cumsum(taken) - 1, 0)
    found = (index, np.flatnonzero(taken), taken[:, None])
    return Places(*(to_device(part, device) for part in found))


@dataclass(frozen=True)
class Batch:
    """Rows of text and images. Images stand in reading order: row by row, and within a row as their tokens do."""

    tokens: Tensor  # [B, T]
    positions: Tensor  # [B, T]
    documents: Documents | None  # None: every row is one, without padding
    pixels: Tensor | None  # [patches, channels * patch^2], packed patches of all images; None: no image
    grids: Sequence[Grid]  # of the images
    places: Places | None  # of the images' tokens

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return Batch(
            tokens=to_device(self.tokens, device),
            positions=to_device(self.positions, device),
            documents=None if self.documents is None else self.documents.to(device),
            pixels=None if self.pixels is None else to_device(self.pixels, device),
            grids=self.grids,
            places=None if self.places is None else self.places.to(device),
        )


def place_images(embeddings_BTD: Tensor, features_MD: Tensor | None, where: Places | None) -> Tensor:
    """Token embeddings [B, T, D] with the features [M, D] put, in order, where the image tokens are.

    Raises UserError naming both numbers when there are not exactly M such tokens.
    """
    found, given = 0 if where is None else where.count, 0 if features_MD is None else len(features_MD)
    if found != given:
        raise UserError(
            f"the batch has {found} image tokens, but its images give {given} features. "
            "Each image needs one token for every merged block of patches."
        )
    if where is None or features_MD is None:
        return embeddings_BTD
    flat_ND = embeddings_BTD.flatten(0, 1)
    placed_ND = take_rows(features_MD.to(embeddings_BTD.dtype), where.index, where.inverse, where.here)
    return torch.where(where.taken, placed_ND, flat_ND).view(embeddings_BTD.shape)


def embed(modules: nn.ModuleDict, batch: Batch) -> Tensor:
    """Input embeddings [B, T, D]. Without images neither `vit` nor `projector` runs, and they get no gradient."""
    embeddings_BTD = modules["llm"].embed(batch.tokens)
    if batch.pixels is None:
        return place_images(embeddings_BTD, None, batch.places)
    features_MD = modules["projector"](modules["vit"](batch.pixels, batch.grids), batch.grids)
    return place_images(embeddings_BTD, features_MD, batch.places)
