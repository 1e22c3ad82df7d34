"""What loaders hand to training: rows of tokens with their targets, and rows of image-caption pairs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stages.data.tokens.roles import LOCAL, Roles

UNSUPERVISED = -100
PADDING = -1

Span = tuple[str, int, int, int]  # corpus, document, first token within it, one past the last


@dataclass(frozen=True)
class Image:
    """float32 [H, W, C] in [-1, 1]; H and W are multiples of patch x merge."""

    pixels: NDArray[np.float32]


@dataclass(frozen=True)
class Sample:
    """One sequence of T positions.

    tokens int64 [T]; labels int64 [T], already shifted (labels[t] is the target of position t, -100 for none);
    segments int32 [T]: number of the document within the row, -1 for padding; positions int64 [T], restarting at every
    document where the phase masks documents; images in the order of their image tokens; spans: what was read. `image`
    is the id of an image token, None where the tokenizer has none; `fill` that of padding.
    """

    tokens: NDArray[np.int64]
    labels: NDArray[np.int64]
    segments: NDArray[np.int32]
    positions: NDArray[np.int64]
    images: tuple[Image, ...]
    spans: tuple[Span, ...]
    image: int | None = LOCAL.image
    fill: int = LOCAL.fill

    @property
    def targets(self) -> int:
        """Positions that have a target."""
        return int((self.labels != UNSUPERVISED).sum())

    def cut(self, positions: int, cell: int) -> Sample:
        """The first `positions` positions; pictures whose tokens are not all there go, and their tokens are padding."""
        kept, budget = [], int(np.count_nonzero(self.tokens[:positions] == self.image))
        used = 0
        for image in self.images:
            height, width, _ = image.pixels.shape
            cells = (height // cell) * (width // cell)
            if used + cells > budget:
                break
            kept.append(image)
            used += cells
        tokens, labels = self.tokens[:positions].copy(), self.labels[:positions].copy()
        segments = self.segments[:positions].copy()
        if used < budget:
            torn = np.flatnonzero(tokens == self.image)[used:]
            labels[max(0, int(torn[0]) - 1) :], segments[torn], tokens[torn] = UNSUPERVISED, PADDING, self.fill
        spans = cut_spans(self.spans, positions)
        return replace(
            self, tokens=tokens, labels=labels, segments=segments, positions=self.positions[:positions],
            images=tuple(kept), spans=spans,
        )  # fmt: skip


def blank(positions: int, roles: Roles) -> Sample:
    """A row of padding alone."""
    return Sample(
        tokens=np.full(positions, roles.fill, dtype=np.int64),
        labels=np.full(positions, UNSUPERVISED, dtype=np.int64),
        segments=np.full(positions, PADDING, dtype=np.int32),
        positions=np.zeros(positions, dtype=np.int64),
        images=(),
        spans=(),
        image=roles.image,
        fill=roles.fill,
    )


def cut_spans(spans: tuple[Span, ...], positions: int) -> tuple[Span, ...]:
    """What of these spans lies in the first `positions` positions."""
    out, left = [], positions
    for corpus, document, start, end in spans:
        if left <= 0:
            break
        out.append((corpus, document, start, min(end, start + left)))
        left -= end - start
    return tuple(out)


@dataclass(frozen=True)
class PairRow:
    """One packed row of image patches for contrastive training.

    captions int64 [n, length], padded with 0 after caption_lengths int64 [n] tokens (BOS and EOS counted); items are
    the numbers of the pairs in their corpus.
    """

    images: tuple[Image, ...]
    captions: NDArray[np.int64]
    caption_lengths: NDArray[np.int64]
    items: tuple[tuple[str, int], ...]


def as_image(raw: NDArray[np.uint8], channels: int) -> Image:
    """Bytes, grey [H, W] or of each channel [H, W, C], to normalised channels.

    x / 255 * 2 - 1 is mean and deviation 0.5, as MoonViT's processor has it.
    """
    values = raw.astype(np.float32) / np.float32(255) * np.float32(2) - np.float32(1)
    return Image(np.repeat(values[:, :, None], channels, axis=2) if raw.ndim == 2 else values)
