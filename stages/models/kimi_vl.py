"""Kimi-VL: image features in the token stream of the language model (arXiv 2504.07491, section 2.1).

An image takes as many `image_token` tokens as its merged patches; a video is its frames, one image after another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from stages.errors import UserError
from stages.models.vision_packing import Grid


@dataclass(frozen=True)
class Batch:
    """Rows of text and images. Images stand in reading order: row by row, and within a row as their tokens do."""

    tokens: Tensor  # [B, T]
    positions: Tensor  # [B, T]
    segments: Tensor | None  # [B, T]
    pixels: Tensor | None  # [N, channels * patch^2], packed patches of all images; None: no image
    grids: Sequence[Grid]  # of the images
    image_token: int


def place_images(tokens: Tensor, embeddings: Tensor, features: Tensor, image_token: int) -> Tensor:
    """Token embeddings [B, T, H] with the features [M, H] put, in order, where tokens [B, T] == image_token.

    Raises UserError naming both numbers when there are not exactly M such tokens.
    """
    places = tokens == image_token
    found = int(places.sum())
    if found != features.shape[0]:
        raise UserError(
            f"the batch has {found} image tokens, but its images give {features.shape[0]} features. "
            "Each image needs one token for every merged block of patches."
        )
    return embeddings.masked_scatter(places[..., None], features.to(embeddings.dtype))


def embed(modules: nn.ModuleDict, batch: Batch) -> Tensor:
    """Input embeddings [B, T, H]. Without images neither `vit` nor `projector` runs, and they get no gradient."""
    embeddings = modules["llm"].embed(batch.tokens)
    if batch.pixels is None:
        return place_images(batch.tokens, embeddings, embeddings.new_empty(0, embeddings.shape[-1]), batch.image_token)
    features = modules["projector"](modules["vit"](batch.pixels, batch.grids), batch.grids)
    return place_images(batch.tokens, embeddings, features, batch.image_token)


def forward(modules: nn.ModuleDict, batch: Batch) -> Tensor:
    """Hidden states [B, T, H] of the language model; modules: llm, vit, projector."""
    return modules["llm"](batch.tokens, batch.positions, batch.segments, embed(modules, batch))
