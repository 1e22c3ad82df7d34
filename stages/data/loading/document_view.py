"""Documents of a prepared corpus as a person reads them: their text, what of it is learned, and the row they are from.

A corpus does not store where its documents are from. So rows of the input are read and cut into tokens again, and
looked for in what was prepared: what is shown is the prepared document, and that it is the row's is checked token by
token.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.data.corpus import offsets
from stages.data.corpus.prepared import Corpus
from stages.data.document import Document
from stages.data.draws import rank
from stages.data.files import inputs, pieces, records, user
from stages.data.files.pieces import Piece
from stages.data.spec import CorpusSpec
from stages.data.tokens.encode import encode_accepted
from stages.data.tokens.preference import BEGINS, SIDES
from stages.data.tokens.tokenizer import Tokenizer
from stages.data.turns import RowError

LONGEST = 2000  # tokens of a document that are shown
RANKS = 1 << 64


@dataclass(frozen=True)
class Stretch:
    """Tokens that belong together: text, or one special token by its word (`times` of it: cells of pictures). Of a pair
    of answers, `of` is which of the two conversations it is in.
    """

    text: str
    learned: bool
    special: bool = False
    times: int = 1
    of: str = ""


@dataclass(frozen=True)
class Shown:
    """A document: its number in the corpus, how many tokens it has and how many of them are learned.

    `pictures` are (height, width), in pixels; `stretches` are of its first `LONGEST` tokens.
    """

    number: int
    heldout: bool
    tokens: int
    learned: int
    pictures: tuple[tuple[int, int], ...]
    stretches: tuple[Stretch, ...]


def show(corpus: Corpus, tokenizer: Tokenizer, number: int) -> Shown:
    """One document of a corpus."""
    tokens, targets = _targets(corpus, number)
    pictures = [] if corpus.pictures is None else corpus.raw_pictures(number)
    sizes = tuple((one.shape[0], one.shape[1]) for one in pictures)
    parts = tuple(
        replace(one, of=name)
        for name, where in conversations(corpus, number, min(len(tokens), LONGEST))
        for one in stretches(tokens[where], targets[where], tokenizer)
    )
    heldout = number >= corpus.training_documents
    return Shown(number, heldout, len(tokens), int(targets.sum()), sizes, parts)


def conversations(corpus: Corpus, number: int, count: int) -> Iterator[tuple[str, slice]]:
    """What of a document's first `count` tokens is read by itself: both of a pair by what they are, else all of it."""
    if corpus.supervised is None or corpus.manifest.kind != "preference":
        yield "", slice(0, count)
        return
    begins = corpus.supervised[corpus.span(number)] == BEGINS
    middle = min(int(np.argmax(begins)), count)
    yield from zip(SIDES, (slice(0, middle), slice(middle, count)), strict=True)


def _targets(corpus: Corpus, number: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """A document's tokens, and which of them are targets of training: as `loader` says, without a phase."""
    where = corpus.span(number)
    tokens = corpus.tokens[where].astype(np.int64)
    targets = tokens != corpus.roles.image if corpus.roles.image is not None else np.ones(len(tokens), dtype=np.bool_)
    if corpus.supervised is not None:
        targets &= np.asarray(corpus.supervised[where]) == 1
    targets[:1] = False  # nothing comes before the first token that could predict it
    return tokens, targets


def stretches(tokens: NDArray[np.int64], targets: NDArray[np.bool_], tokenizer: Tokenizer) -> Iterator[Stretch]:
    """Tokens as text, one after the other; a border wherever what is learned begins or ends, or a special token is."""
    special = set(tokenizer.special_words.values()) | set(tokenizer.roles.by_name().values())

    def kind(one: tuple[int, bool]) -> tuple[bool, int | None]:
        return one[1], one[0] if one[0] in special else None

    for (learned, one), found in groupby(zip(tokens.tolist(), targets.tolist(), strict=True), key=kind):
        ids = [number for number, _ in found]
        if one is None:
            yield Stretch(tokenizer.decode(ids), learned)
        else:
            yield Stretch(tokenizer.word(one), learned, True, len(ids))


def rows(
    root: Path, spec: CorpusSpec, corpus: Corpus, tokenizer: Tokenizer, count: int
) -> Iterator[tuple[str, int | None]]:
    """(file:line, the document that was made of it) of `count` rows of a user's files, spread over the files.

    None where the corpus has no such document: it was left out since another says the same, or the file has changed.
    Rows that cannot be used are passed over. Raises UserError as `inputs.find`.
    """
    wanted, cut = user.shape(spec), pieces.cut(inputs.find(root, spec))
    chosen = [cut[place * len(cut) // min(count, len(cut))] for place in range(min(count, len(cut)))]
    search, places, given = _Search(corpus), user.Places(), 0
    for place, piece in enumerate(chosen):
        quota = (count - given) // (len(chosen) - place)
        for line, made in _documents(piece, wanted):
            encoded, refused = encode_accepted(made, tokenizer, corpus.manifest.cell or None)
            if refused:
                continue
            starts = np.cumsum(encoded.lengths) - encoded.lengths
            for document, start, length in zip(made, starts.tolist(), encoded.lengths.tolist(), strict=True):
                if not quota:
                    break
                where = slice(start, start + length)
                found = search.find(document, encoded.tokens[where], encoded.supervised[where])
                file, number = places.of(piece, line)
                yield f"{file}:{number}", found
                quota, given = quota - 1, given + 1
            if not quota:
                break


def _documents(piece: Piece, wanted: records.Shape) -> Iterator[tuple[int, list[Document]]]:
    for row in user.rows(piece, wanted):
        try:
            yield row.line, records.documents(row.raw, wanted)
        except RowError:
            continue


class _Search:
    """Documents of a corpus by their tokens. Equal ones are found one after the other."""

    def __init__(self, corpus: Corpus) -> None:
        blocks = offsets.length_blocks(corpus.offsets, corpus.documents)
        # int32 [documents]: half the memory of the offsets.
        self._lengths = np.concatenate([np.zeros(0, dtype=np.int32), *(block.astype(np.int32) for block in blocks)])
        self._corpus, self._taken = corpus, set[int]()

    def find(self, document: Document, tokens: NDArray[Any], mask: NDArray[np.uint8]) -> int | None:
        """Its number. Documents lie in the order of a hash, so it is looked for first where its hash says."""
        about = rank(self._corpus.name, document.identity) * self._corpus.training_documents // RANKS
        same = np.flatnonzero(self._lengths == len(tokens))
        for number in same[np.argsort(np.abs(same - about), kind="stable")].tolist():
            if number not in self._taken and self._is(number, tokens, mask):
                self._taken.add(number)
                return int(number)
        return None

    def _is(self, number: int, tokens: NDArray[Any], mask: NDArray[np.uint8]) -> bool:
        where, supervised = self._corpus.span(number), self._corpus.supervised
        return np.array_equal(self._corpus.tokens[where], tokens) and (
            supervised is None or np.array_equal(supervised[where], mask)
        )
