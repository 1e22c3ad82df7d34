"""Pictures as this model was trained on them: grey or RGB, scaled by areas, cut into patches; Pillow decodes.

`pixel_values` [patches, channels, patch, patch] in [-1, 1] hold the patches of all pictures, row by row, one picture
after another; `image_grid_hws` [pictures, 2] their rows and columns of patches.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageOps
from transformers.image_processing_utils import BaseImageProcessor, BatchFeature

WHITE = (255, 255, 255, 255)


class KimiVLImageProcessor(BaseImageProcessor):
    """Sides become multiples of a merged block of patches, `longest_side` pixels at most; `pixels` is grey or rgb."""

    model_input_names = ["pixel_values", "image_grid_hws"]  # noqa: RUF012

    def __init__(
        self,
        patch_size: int = 14,
        merge_size: int = 2,
        num_channels: int = 3,
        longest_side: int = 896,
        pixels: str = "grey",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.patch_size, self.merge_size = patch_size, merge_size
        self.num_channels, self.longest_side, self.pixels = num_channels, longest_side, pixels

    def preprocess(self, images: Any, return_tensors: Any = "pt", **kwargs: Any) -> BatchFeature:
        """Patches and grids of one picture, or of a list of them: of Pillow's, or arrays uint8 [H, W] or [H, W, 3]."""
        every = images if isinstance(images, (list, tuple)) else [images]
        if not every:
            raise ValueError("found no picture; allowed: one, or a list of them")
        flat = [one for each in every for one in (each if isinstance(each, (list, tuple)) else [each])]
        scaled = [self._scaled(one) for one in flat]
        patches = np.concatenate([self._patches(one) for one in scaled])
        grids = np.array([[side // self.patch_size for side in one.shape[:2]] for one in scaled], dtype=np.int64)
        return BatchFeature({"pixel_values": patches, "image_grid_hws": grids}, tensor_type=return_tensors)

    def tokens(self, grid: Any) -> int:
        """How many placeholders a picture with a grid [rows, columns] of patches takes."""
        rows, columns = (int(side) for side in grid)
        return rows * columns // self.merge_size**2

    def _scaled(self, picture: Any) -> Any:
        """uint8 [H, W] or [H, W, 3]: upright, white where it is transparent, scaled."""
        if not isinstance(picture, Image.Image):
            array = np.asarray(picture)
            if array.dtype != np.uint8:
                raise ValueError(f"found a picture of {array.dtype}; allowed: Pillow's pictures, or arrays of uint8")
            picture = Image.fromarray(array)
        turned = ImageOps.exif_transpose(picture)
        if turned.mode in ("LA", "PA", "RGBA") or "transparency" in turned.info:
            over = turned.convert("RGBA")
            turned = Image.alpha_composite(Image.new("RGBA", over.size, WHITE), over).convert("RGB")
        upright = turned.convert("RGB" if self.pixels == "rgb" else "L")
        cell, longer = self.patch_size * self.merge_size, max(upright.size)
        most = min(longer, self.longest_side)
        width, height = (max(cell, side * most // longer // cell * cell) for side in upright.size)
        if (width, height) != upright.size:
            upright = upright.resize((width, height), Image.Resampling.BOX)
        return np.array(upright, dtype=np.uint8)

    def _patches(self, raw: Any) -> Any:
        """Patches fp32 [h * w, channels, patch, patch], row by row."""
        size = self.patch_size
        values = raw.astype(np.float32) / np.float32(255) * np.float32(2) - np.float32(1)
        height, width = raw.shape[:2]
        cut = values.reshape(height // size, size, width // size, size, -1).transpose(0, 2, 4, 1, 3)
        cut = cut.reshape(height // size * (width // size), -1, size, size)
        return np.repeat(cut, self.num_channels, axis=1) if raw.ndim == 2 else cut
