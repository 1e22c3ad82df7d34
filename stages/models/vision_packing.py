"""Images as rows of patches: cutting, packing several sizes into one row, and grouping images of equal length.

A packed row has the patches of all images one after another, row-major within each image (NaViT, arXiv 2307.06304).
Attention stays inside an image, so images with the same number of patches can be computed as one batch.

Shapes: N patches of all images, D the width of a row, I images, L patches of the longest image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from stages.errors import UserError
from stages.models.common import take_rows
from stages.models.documents import Spans
from stages.models.transfer import to_device

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
    spans: Spans  # the sorted images' patches
    order: Tensor | None  # sorted patch -> packed patch
    inverse: Tensor | None  # packed patch -> sorted patch
    image_order: Tensor | None  # place among the sorted images -> image
    image_inverse: Tensor | None  # image -> its place among the sorted images

    def sort(self, rows: Tensor) -> Tensor:
        """Packed rows [N, ...] in the order of the groups."""
        return _permuted(rows, self.order, self.inverse)

    def restore(self, rows: Tensor) -> Tensor:
        """Sorted rows [N, ...] in the packed order."""
        return _permuted(rows, self.inverse, self.order)

    def restore_images(self, rows: Tensor) -> Tensor:
        """One row per sorted image [images, ...] in the order of the images."""
        return _permuted(rows, self.image_inverse, self.image_order)

    def on(self, device: torch.device) -> Plan:
        """The same on a device."""
        if device.type == "cpu":
            return self
        spans = Spans(to_device(self.spans.borders, device), self.spans.longest)
        orders = (self.order, self.inverse, self.image_order, self.image_inverse)
        return Plan(self.groups, spans, *(None if order is None else to_device(order, device) for order in orders))


def _permuted(rows: Tensor, order: Tensor | None, inverse: Tensor | None) -> Tensor:
    return rows if order is None or inverse is None else take_rows(rows, order, inverse, None)


@lru_cache(maxsize=512)
def _plan(grids: tuple[Grid, ...]) -> Plan:
    lengths = [h * w for h, w in grids]
    order = sorted(range(len(grids)), key=lengths.__getitem__)
    groups = tuple(_groups([lengths[image] for image in order]))
    borders = np.concatenate([[0], np.cumsum([lengths[image] for image in order])]).astype(np.int32)
    spans = Spans(torch.from_numpy(borders), max(lengths, default=0))
    if order == list(range(len(grids))):
        return Plan(groups, spans, None, None, None, None)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    patches = torch.from_numpy(np.concatenate([np.arange(starts[i], starts[i + 1]) for i in order]))
    images = torch.tensor(order)
    return Plan(groups, spans, patches, torch.argsort(patches), images, torch.argsort(images))


def _groups(sorted_lengths: Sequence[int]) -> Iterator[Group]:
    start = first = 0
    for i, length in enumerate(sorted_lengths):
        if i + 1 == len(sorted_lengths) or sorted_lengths[i + 1] != length:
            yield Group(start, i + 1 - first, length)
            start, first = start + (i + 1 - first) * length, i + 1


def plan(grids: Sequence[Grid], packed: Tensor) -> Plan:
    """The plan of packed patches [N, ...], on their device; raises UserError when the grids do not add up to N."""
    expected = sum(h * w for h, w in grids)
    if expected != len(packed):
        raise UserError(f"{len(grids)} image grids have {expected} patches, but the packed row has {len(packed)}.")
    return _plan(tuple(grids)).on(packed.device)


def pad_by_image(rows_ND: Tensor, grids: Sequence[Grid]) -> tuple[Tensor, Tensor | None]:
    """Packed rows as [I, L, D] with zeros behind, and the mask of real patches [I, L].

    The mask is None when all images have the same length, so that attention needs none.
    """
    lengths = [h * w for h, w in grids]
    if len(set(lengths)) == 1:
        return rows_ND.view(len(lengths), lengths[0], rows_ND.shape[1]), None
    padded_ILD = torch.nn.utils.rnn.pad_sequence(list(rows_ND.split(lengths)), batch_first=True)
    length_I = to_device(torch.tensor(lengths), rows_ND.device)
    return padded_ILD, torch.arange(padded_ILD.shape[1], device=rows_ND.device) < length_I[:, None]
