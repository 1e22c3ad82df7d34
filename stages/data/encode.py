"""Documents to arrays: tokens, lengths, supervision, pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.data.document import BOS, EOS, IMAGE, Document, Picture
from stages.data.tokenizer import Tokenizer

TOKEN_DTYPE = np.dtype("<u2")  # Megatron-Core's code 8; vocabularies up to 65,536
CHUNK = 2048  # texts given to the tokenizer at once, which bounds the memory its answers take


@dataclass(frozen=True)
class Encoded:
    """A corpus in memory.

    tokens uint16 [N]; lengths int64 [documents]; supervised uint8 [N] (may this token be a target);
    pixels uint8 [bytes]; pictures int64 [pictures, 5]: document, height, width, offset into pixels, and the digit
    drawn, or -1 where there is not exactly one.
    """

    tokens: NDArray[np.uint16]
    lengths: NDArray[np.int64]
    supervised: NDArray[np.uint8]
    pixels: NDArray[np.uint8]
    pictures: NDArray[np.int64]


def encode(documents: Sequence[Document], tokenizer: Tokenizer, cell: int | None) -> Encoded:
    """Encode documents in the given order, one BOS before and one EOS after each.

    A picture becomes one <image> token per cell x cell pixels; `cell` None leaves pictures out of the tokens (pairs).
    """
    texts = [part.content for doc in documents for part in doc.parts if isinstance(part.content, str)]
    ids = iter(_encode_all(texts, tokenizer))
    runs: list[NDArray[np.uint16]] = []
    masks: list[NDArray[np.uint8]] = []
    lengths = np.zeros(len(documents), dtype=np.int64)
    pictures: list[tuple[int, Picture]] = []
    one = {special: np.array([special], dtype=TOKEN_DTYPE) for special in range(8)}
    for number, document in enumerate(documents):
        pieces: list[tuple[NDArray[np.uint16], bool]] = [(one[BOS], False)]
        for part in document.parts:
            content = part.content
            if isinstance(content, str):
                pieces.append((next(ids), part.supervised))
            elif isinstance(content, int):
                pieces.append((one[content], part.supervised))
            else:
                pictures.append((number, content))
                if cell is not None:
                    pieces.append((np.full(_cells(content, cell), IMAGE, dtype=TOKEN_DTYPE), False))
        pieces.append((one[EOS], True))
        runs += (tokens for tokens, _ in pieces)
        masks += (np.full(len(tokens), supervised, dtype=np.uint8) for tokens, supervised in pieces)
        lengths[number] = sum(len(tokens) for tokens, _ in pieces)
    table, pixels = _pack(pictures)
    return Encoded(np.concatenate(runs), lengths, np.concatenate(masks), pixels, table)


def _encode_all(texts: list[str], tokenizer: Tokenizer) -> list[NDArray[np.uint16]]:
    out: list[NDArray[np.uint16]] = []
    for start in range(0, len(texts), CHUNK):
        batch = tokenizer.encode_batch(texts[start : start + CHUNK])
        out += (np.array(ids, dtype=TOKEN_DTYPE) for ids in batch)
    return out


def _cells(picture: Picture, cell: int) -> int:
    height, width = picture.pixels.shape
    if height % cell or width % cell:
        raise ValueError(f"a picture of {height} x {width} pixels does not divide into cells of {cell}")
    return (height // cell) * (width // cell)


def _pack(pictures: list[tuple[int, Picture]]) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    table = np.zeros((len(pictures), 5), dtype=np.int64)
    offset = 0
    for row, (document, picture) in enumerate(pictures):
        height, width = picture.pixels.shape
        digit = picture.digits[0] if len(picture.digits) == 1 else -1
        table[row] = (document, height, width, offset, digit)
        offset += height * width
    pixels = np.concatenate([p.pixels.reshape(-1) for _, p in pictures]) if pictures else np.zeros(0, dtype=np.uint8)
    return table, pixels
