"""The handwritten digits that scikit-learn ships, and drawing them on canvases.

1,797 pictures of 8 x 8 pixels, 17 grey levels (Alpaydin & Kaynak 1998, UCI "Optical Recognition of Handwritten
Digits"). scikit-learn itself is not imported; its file is read and verified like any other.
"""

from __future__ import annotations

import gzip
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from stages.data.draws import Draws, rank
from stages.data.generated.packages import verified_bytes
from stages.data.spec import CorpusSpec
from stages.errors import UserError

DISTRIBUTION = "scikit-learn"
FILE = "sklearn/datasets/data/digits.csv.gz"
SIDE = 8  # pixels
HELD_OUT_PER_MILLE = 100  # digits per thousand: more than of documents, so that what is read from them means something
LEVELS = 16  # the brightest value in the file
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


class Digits:
    """The digits of one split. `pictures` uint8 [n, 8, 8] with values 0 to 16; `classes` int64 [n]."""

    def __init__(self, pictures: NDArray[np.uint8], classes: NDArray[np.int64]) -> None:
        self.pictures, self.classes = pictures, classes
        self._by_class = [np.flatnonzero(classes == digit) for digit in range(10)]

    def draw(self, draws: Draws, digit: int) -> NDArray[np.uint8]:
        """One of the pictures of this digit, [8, 8]."""
        members = self._by_class[digit]
        return self.pictures[int(members[draws.below(len(members))])]


def load(spec: CorpusSpec) -> tuple[Digits, Digits]:
    """(training digits, held-out digits), the same split in every corpus. Raises UserError if the file is not there."""
    package = spec.packages.get(DISTRIBUTION)
    if package is None:
        raise UserError(f"specs/data/{spec.corpus}.yaml: packages: {DISTRIBUTION} is missing; the digits are its")
    return _load(package.version)


@lru_cache(maxsize=2)
def _load(version: str) -> tuple[Digits, Digits]:
    rows = gzip.decompress(verified_bytes(DISTRIBUTION, version, FILE)).decode("ascii").split()
    table = np.array([[int(float(value)) for value in row.split(",")] for row in rows], dtype=np.int64)
    pictures, classes = table[:, :-1].astype(np.uint8).reshape(-1, SIDE, SIDE), table[:, -1]
    kept = np.array([rank("held out", f"digit {number}") % 1000 < HELD_OUT_PER_MILLE for number in range(len(table))])
    return Digits(pictures[~kept], classes[~kept]), Digits(pictures[kept], classes[kept])


def paste(
    canvas: NDArray[np.uint8], picture: NDArray[np.uint8], top: int, left: int, scale: int, brightness: int
) -> None:
    """Draw a digit enlarged `scale` times, its strokes at most `brightness` (0 to 255), over the canvas, in place."""
    strokes = picture.astype(np.uint32) * brightness // LEVELS
    large = np.repeat(np.repeat(strokes, scale, axis=0), scale, axis=1).astype(np.uint8)
    side = SIDE * scale
    region = canvas[top : top + side, left : left + side]
    np.maximum(region, large[: region.shape[0], : region.shape[1]], out=region)


def shrink(pixels: NDArray[np.uint8], cap: int, cell: int) -> NDArray[np.uint8]:
    """Area-average a picture so that its longer side is at most `cap`; sides stay multiples of `cell`.

    Grey [H, W] or with channels [H, W, C]. Integer arithmetic, rounded half up: the same bytes on every machine.
    Pictures within the cap come back as they are.
    """
    height, width = pixels.shape[:2]
    longer = max(height, width)
    if longer <= cap:
        return pixels
    rows, columns = (max(cell, side * cap // longer // cell * cell) for side in (height, width))
    bands = pixels.astype(np.int64).reshape(height, width, -1).transpose(2, 0, 1)
    total = (_overlap(height, rows) @ bands @ _overlap(width, columns).T).transpose(1, 2, 0)
    total, area = total.reshape(rows, columns, *pixels.shape[2:]), height * width
    return ((2 * total + area) // (2 * area)).astype(np.uint8)


@lru_cache(maxsize=64)
def _overlap(before: int, after: int) -> NDArray[np.int64]:
    """[after, before]: how much of each old pixel lies in each new one, in units of 1/after; rows sum to `before`."""
    new, old = np.arange(after)[:, None] * before, np.arange(before)[None, :] * after
    return np.clip(np.minimum(new + before, old + after) - np.maximum(new, old), 0, None)
