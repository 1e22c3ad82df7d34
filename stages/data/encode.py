"""Documents to arrays: tokens, lengths, supervision, pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.data.conversations import encode_conversations, spread
from stages.data.document import BOS, EOS, IMAGE, SPECIAL, Document, Picture
from stages.data.roles import NAMES
from stages.data.tokenizer import Tokenizer
from stages.errors import UserError

CHUNK = 2048  # texts given to the tokenizer at once, which bounds the memory its answers take
Piece = tuple[NDArray[np.integer], NDArray[np.uint8]]  # tokens, and for each 1 where it may be a target


@dataclass(frozen=True)
class Encoded:
    """A corpus, or a part of one, in memory.

    tokens [N], uint16 or, for vocabularies above 65,536, int32; lengths int64 [documents]; supervised uint8 [N] (may
    this token be a target); pixels uint8 [bytes]; pictures int64 [pictures, 5]: document, height, width, offset into
    pixels, and the digit drawn, or -1 where there is not exactly one.
    """

    tokens: NDArray[np.integer]
    lengths: NDArray[np.int64]
    supervised: NDArray[np.uint8]
    pixels: NDArray[np.uint8]
    pictures: NDArray[np.int64]


def encode(documents: Sequence[Document], tokenizer: Tokenizer, cell: int | None) -> Encoded:
    """Encode documents in the given order, one BOS before and one EOS after each, as far as the tokenizer has them.

    Conversations are what a published tokenizer's chat template makes of them, and nothing is added. A picture becomes
    one image token per cell x cell pixels; `cell` None leaves pictures out of the tokens (pairs). Raises UserError for
    a document that the tokenizer has no token or no template for.
    """
    rendered = iter(encode_conversations([doc for doc in documents if _by_template(doc, tokenizer)], tokenizer))
    plain = [doc for doc in documents if not _by_template(doc, tokenizer)]
    ids = iter(
        _encode_all([part.content for doc in plain for part in doc.parts if isinstance(part.content, str)], tokenizer)
    )
    runs: list[NDArray[np.integer]] = []
    masks: list[NDArray[np.uint8]] = []
    lengths = np.zeros(len(documents), dtype=np.int64)
    pictures: list[tuple[int, Picture]] = []
    for number, document in enumerate(documents):
        shown = _pictures(document)
        pictures += ((number, picture) for picture in shown)
        if _by_template(document, tokenizer):
            cells = [0 if cell is None else _cells(picture, cell) for picture in shown]
            pieces = [spread(next(rendered), tokenizer.roles.image, cells)]
        else:
            pieces = list(_pieces(document, tokenizer, ids, cell))
        runs += (tokens for tokens, _ in pieces)
        masks += (mask for _, mask in pieces)
        lengths[number] = sum(len(tokens) for tokens, _ in pieces)
    table, pixels = _pack(pictures)
    return Encoded(np.concatenate(runs), lengths, np.concatenate(masks), pixels, table)


def _by_template(document: Document, tokenizer: Tokenizer) -> bool:
    """Whether the tokenizer's own template writes the document. Raises UserError where nothing could write it."""
    if document.conversation is None:
        return False
    if tokenizer.files and tokenizer.template is None:
        raise UserError(
            "conversations need a chat template, and the tokenizer has none: put chat_template.jinja into its folder"
        )
    if tokenizer.template is None and not document.parts:
        raise UserError(
            f"found tools, or a message with more than role and content: {document.identity[:80]!r}; "
            "allowed with the local tokenizer: role and content. Declare a tokenizer with a chat template."
        )
    return tokenizer.template is not None


def _pictures(document: Document) -> list[Picture]:
    if document.conversation is not None:
        return list(document.conversation.pictures)
    return [part.content for part in document.parts if isinstance(part.content, Picture)]


def _pieces(
    document: Document, tokenizer: Tokenizer, ids: Iterator[NDArray[np.integer]], cell: int | None
) -> Iterator[Piece]:
    """A document that parts describe, with the BOS before it and the EOS behind."""
    roles = tokenizer.roles
    if roles.bos is not None:
        yield _piece(_special(BOS, tokenizer), False)
    for part in document.parts:
        content = part.content
        if isinstance(content, str):
            yield _piece(next(ids), part.supervised)
        elif isinstance(content, int):
            yield _piece(_special(content, tokenizer), part.supervised)
        elif cell is not None:
            yield _piece(np.repeat(_special(IMAGE, tokenizer), _cells(content, cell)), False)
    if roles.eos is not None:
        yield _piece(_special(EOS, tokenizer), True)


def _piece(tokens: NDArray[np.integer], supervised: bool) -> Piece:
    return tokens, np.full(len(tokens), supervised, dtype=np.uint8)


def _special(number: int, tokenizer: Tokenizer) -> NDArray[np.integer]:
    """The one token of a role. Raises UserError where the tokenizer has none for it."""
    found = getattr(tokenizer.roles, NAMES[number])
    if found is None:
        raise UserError(
            f"a document has a token {SPECIAL[number]}, and the tokenizer's spec names none: roles.{NAMES[number]}"
        )
    return np.array([found], dtype=tokenizer.dtype)


def _encode_all(texts: list[str], tokenizer: Tokenizer) -> Iterator[NDArray[np.integer]]:
    dtype = tokenizer.dtype
    for start in range(0, len(texts), CHUNK):
        for ids in tokenizer.encode_batch(texts[start : start + CHUNK]):
            yield np.array(ids, dtype=dtype)


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
