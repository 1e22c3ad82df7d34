"""Documents to arrays: tokens, lengths, supervision, pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, repeat

import numpy as np
from numpy.typing import NDArray

from stages.data.document import IMAGE, SPECIAL, Document, Picture
from stages.data.gather import gather
from stages.data.tokens import preference
from stages.data.tokens.conversations import Piece, encode_conversations, spread
from stages.data.tokens.roles import NAMES
from stages.data.tokens.template import TemplateError
from stages.data.tokens.tokenizer import Tokenizer
from stages.errors import UserError

CHUNK = 2048  # documents in memory as lists of ids, before they are arrays


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

    def only(self, kept: NDArray[np.bool_]) -> Encoded:
        """The documents that are `kept` [documents], of a corpus without pictures."""
        tokens = np.repeat(kept, self.lengths)
        return replace(self, tokens=self.tokens[tokens], lengths=self.lengths[kept], supervised=self.supervised[tokens])


_NO_PICTURES = (np.zeros(0, dtype=np.uint8), np.zeros((0, 5), dtype=np.int64))


@dataclass(frozen=True)
class _Flat:
    """Documents one after the other: tokens [N], uint8 [N] of what may be a target, tokens of each document."""

    tokens: NDArray[np.integer]
    mask: NDArray[np.uint8]
    lengths: NDArray[np.int64]


def encode(documents: Sequence[Document], tokenizer: Tokenizer, cell: int | None) -> Encoded:
    """Encode documents in the given order, one BOS before and one EOS after each, as far as the tokenizer has them.

    Conversations are what a published tokenizer's chat template makes of them, and nothing is added. A picture becomes
    one image token per cell x cell pixels; `cell` None leaves pictures out of the tokens (pairs). Raises UserError for
    a document that the tokenizer has no token or no template for.
    """
    encoded, refused = encode_accepted(documents, tokenizer, cell)
    if refused:
        raise refused[min(refused)]
    table, pixels = _pack([(place, one) for place, document in enumerate(documents) for one in _pictures(document)])
    return replace(encoded, pixels=pixels, pictures=table)


def encode_accepted(
    documents: Sequence[Document], tokenizer: Tokenizer, cell: int | None
) -> tuple[Encoded, dict[int, TemplateError]]:
    """`encode` without pixels of the documents that the chat template can write; of the others, by place, why not.

    Pairs of answers come in no batch with others.
    """
    if documents and documents[0].rejected is not None:
        sides, refused = encode_accepted([side for one in documents for side in one.sides], tokenizer, cell)
        return preference.joined(sides, refused, [one.identity for one in documents])
    chats = [number for number, document in enumerate(documents) if _by_template(document, tokenizer)]
    written, refused = _conversations(documents, chats, tokenizer, cell)
    if len(chats) == len(documents):
        flat = written
    else:
        others = sorted(set(range(len(documents))).difference(chats)) if chats else range(len(documents))
        plain = _joined([
            _plain([documents[number] for number in others[start : start + CHUNK]], tokenizer, cell)
            for start in range(0, len(others), CHUNK)
        ])  # fmt: skip
        accepted = [number for number in chats if number not in refused]
        flat = _ordered(_joined([plain, written]), [*others, *accepted]) if accepted else plain
    return Encoded(flat.tokens, flat.lengths, flat.mask, *_NO_PICTURES), refused


def encode_texts(texts: Sequence[str], tokenizer: Tokenizer) -> Encoded:
    """`encode` of documents that are one text each, all of which may be learned."""
    ids, size = tokenizer.encode_stored(texts), tokenizer.dtype.itemsize
    roles = tokenizer.roles
    begin, end = (np.array([] if token is None else [token], tokenizer.dtype) for token in (roles.bos, roles.eos))
    lengths = np.fromiter(map(len, ids), dtype=np.int64, count=len(ids)) // size + (len(begin) + len(end))
    stretches = chain.from_iterable(zip(repeat(begin.tobytes()), ids, repeat(end.tobytes()), strict=False))
    tokens = np.frombuffer(b"".join(stretches), dtype=tokenizer.dtype)
    return Encoded(tokens, lengths, _learned(lengths, len(begin)), *_NO_PICTURES)


def _learned(lengths: NDArray[np.int64], begins: int) -> NDArray[np.uint8]:
    """A mask of documents of which everything is learned but the `begins` tokens before each."""
    mask = np.ones(int(lengths.sum()), dtype=np.uint8)
    if begins:
        mask[np.cumsum(lengths) - lengths] = 0
    return mask


def _conversations(
    documents: Sequence[Document], chats: Sequence[int], tokenizer: Tokenizer, cell: int | None
) -> tuple[_Flat, dict[int, TemplateError]]:
    """The documents at the places `chats`, as the chat template writes them."""
    pieces, refused = list[Piece](), dict[int, TemplateError]()
    found = encode_conversations([documents[number] for number in chats], tokenizer)
    for number, one in zip(chats, found, strict=True):
        if isinstance(one, TemplateError):
            refused[number] = one
        else:
            cells = [0 if cell is None else _cells(picture, cell) for picture in _pictures(documents[number])]
            pieces.append(spread(one, tokenizer.roles.image, cells))
    lengths = np.array([len(tokens) for tokens, _ in pieces], dtype=np.int64)
    tokens = np.concatenate([np.zeros(0, tokenizer.dtype), *(tokens for tokens, _ in pieces)])
    return _Flat(tokens, np.concatenate([np.zeros(0, np.uint8), *(mask for _, mask in pieces)]), lengths), refused


def _plain(documents: Sequence[Document], tokenizer: Tokenizer, cell: int | None) -> _Flat:
    """Documents that parts describe, each with the BOS before it and the EOS behind."""
    texts = [part.content for document in documents for part in document.parts if isinstance(part.content, str)]
    ids = iter(tokenizer.encode_batch(texts))
    begin = [] if tokenizer.roles.bos is None else [[tokenizer.roles.bos]]
    end = [] if tokenizer.roles.eos is None else [[tokenizer.roles.eos]]
    stretches, supervised, firsts = list[list[int]](), list[bool](), [0]
    for document in documents:
        stretches += begin
        supervised += [False] * len(begin)
        for part in document.parts:
            stretches.append(next(ids) if isinstance(part.content, str) else _special(part.content, tokenizer, cell))
            supervised.append(part.supervised and not isinstance(part.content, Picture))
        stretches += end
        supervised += [True] * len(end)
        firsts.append(len(stretches))
    sizes = np.fromiter(map(len, stretches), dtype=np.int64, count=len(stretches))
    before = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(sizes)])
    tokens = np.fromiter(chain.from_iterable(stretches), dtype=tokenizer.dtype, count=int(before[-1]))
    return _Flat(tokens, np.repeat(np.array(supervised, dtype=np.uint8), sizes), np.diff(before[firsts]))


def _joined(parts: Sequence[_Flat]) -> _Flat:
    if len(parts) == 1:
        return parts[0]
    return _Flat(
        np.concatenate([part.tokens for part in parts]), np.concatenate([part.mask for part in parts]),
        np.concatenate([part.lengths for part in parts]),
    )  # fmt: skip


def _ordered(flat: _Flat, places: Sequence[int]) -> _Flat:
    """Documents by their `places`, each of which comes once."""
    order, starts = np.argsort(places), np.cumsum(flat.lengths) - flat.lengths
    starts, lengths = starts[order], flat.lengths[order]
    return _Flat(gather(flat.tokens, starts, lengths), gather(flat.mask, starts, lengths), lengths)


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


def _special(content: int | Picture, tokenizer: Tokenizer, cell: int | None) -> list[int]:
    """The one token of a role, or a picture's. Raises UserError where the tokenizer has none for it."""
    if isinstance(content, Picture) and cell is None:
        return []
    number, count = (content, 1) if isinstance(content, int) else (IMAGE, _cells(content, cell or 0))
    found = getattr(tokenizer.roles, NAMES[number])
    if found is None:
        raise UserError(
            f"a document has a token {SPECIAL[number]}, and the tokenizer's spec names none: roles.{NAMES[number]}"
        )
    return [found] * count


def _cells(picture: Picture, cell: int) -> int:
    height, width = picture.pixels.shape[:2]
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
