"""Images as rows of patches: cutting, packing several sizes into one row, and grouping images of equal length.

A packed row holds the patches of all images one after another, row-major within each image (NaViT, arXiv 2307.06304).
Attention stays inside an image, so images with the same number of patches can be computed as one batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from stages.errors import UserError

Grid = tuple[int, int]  # height and width of an image, in patches


def patchify(pixels: np.ndarray, patch: int) -> np.ndarray:
    """Cut pixels [H, W, C] into patches [h * w, C * patch * patch], row-major; a patch is laid out (C, row, column).

    The layout within a patch is that of a convolution kernel, so a public Conv2d weight loads by reshaping.
    Raises UserError when a side is no multiple of `patch`.
    """
    height, width, channels = pixels.shape
    if height % patch or width % patch:
        raise UserError(
            f"image of {height} x {width} pixels: both sides must be multiples of the patch size {patch}. "
            "Pad or resize the image when preparing the corpus."
        )
    cut = pixels.reshape(height // patch, patch, width // patch, patch, channels)
    return np.ascontiguousarray(cut.transpose(0, 2, 4, 1, 3)).reshape(-1, channels * patch * patch)


def pack(images: Sequence[np.ndarray], patch: int) -> tuple[Tensor, list[Grid]]:
    """Patches of all images [N, C * patch * patch] (fp32) and each image's grid; at least one image."""
    grids = [(image.shape[0] // patch, image.shape[1] // patch) for image in images]
    return torch.from_numpy(np.concatenate([patchify(image, patch) for image in images])), grids


@dataclass(frozen=True)
class Group:
    """Images of one length, adjacent after sorting: `count` images from sorted patch `start` on."""

    start: int
    count: int
    length: int

    def of(self, rows: Tensor) -> Tensor:
        """The group's part of sorted rows [N, ...] as a batch [count, length, ...]."""
        part = rows[self.start : self.start + self.count * self.length]
        return part.view(self.count, self.length, *rows.shape[1:])


@dataclass(frozen=True)
class Plan:
    """How a packed row is computed: its images stably sorted by length. None orders mean: sorted already."""

    groups: tuple[Group, ...]
    order: Tensor | None  # sorted patch -> packed patch
    inverse: Tensor | None  # packed patch -> sorted patch
    image_inverse: Tensor | None  # image -> its place among the sorted images

    def sort(self, rows: Tensor) -> Tensor:
        """Packed rows [N, ...] in the order of the groups."""
        return rows if self.order is None else rows.index_select(0, self.order.to(rows.device))

    def restore(self, rows: Tensor) -> Tensor:
        """Sorted rows [N, ...] in the packed order."""
        return rows if self.inverse is None else rows.index_select(0, self.inverse.to(rows.device))

    def restore_images(self, rows: Tensor) -> Tensor:
        """One row per sorted image [images, ...] in the order of the images."""
        return rows if self.image_inverse is None else rows.index_select(0, self.image_inverse.to(rows.device))


@lru_cache(maxsize=512)
def _plan(grids: tuple[Grid, ...]) -> Plan:
    lengths = [h * w for h, w in grids]
    order = sorted(range(len(grids)), key=lengths.__getitem__)
    groups = tuple(_groups([lengths[image] for image in order]))
    if order == list(range(len(grids))):
        return Plan(groups, None, None, None)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    patches = torch.from_numpy(np.concatenate([np.arange(starts[i], starts[i + 1]) for i in order]))
    return Plan(groups, patches, torch.argsort(patches), torch.argsort(torch.tensor(order)))


def _groups(sorted_lengths: Sequence[int]) -> Iterator[Group]:
    start = first = 0
    for i, length in enumerate(sorted_lengths):
        if i + 1 == len(sorted_lengths) or sorted_lengths[i + 1] != length:
            yield Group(start, i + 1 - first, length)
            start, first = start + (i + 1 - first) * length, i + 1


def plan(grids: Sequence[Grid], rows: int) -> Plan:
    """The plan of a packed row of `rows` patches; raises UserError when the grids do not add up to it."""
    expected = sum(h * w for h, w in grids)
    if expected != rows:
        raise UserError(f"{len(grids)} image grids hold {expected} patches, but the packed row has {rows}.")
    return _plan(tuple(grids))


def pad_by_image(rows: Tensor, grids: Sequence[Grid]) -> tuple[Tensor, Tensor | None]:
    """Packed rows [N, H] as [images, longest, H] with zeros behind, and the mask of real patches [images, longest].

    The mask is None when all images have the same length, so that attention needs none.
    """
    lengths = [h * w for h, w in grids]
    if len(set(lengths)) == 1:
        return rows.view(len(lengths), lengths[0], rows.shape[1]), None
    padded = torch.nn.utils.rnn.pad_sequence(list(rows.split(lengths)), batch_first=True)
    length = torch.tensor(lengths, device=rows.device)
    return padded, torch.arange(padded.shape[1], device=rows.device) < length[:, None]
