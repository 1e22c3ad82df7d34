"""The held-out documents of prepared corpora, as evaluations read them: always the same ones, in file order.

No training range contains them: they lie behind the training documents (`stages.data.corpus.prepared`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.data.corpus.corpus_manifest import ManifestKind
from stages.data.corpus.prepared import Corpus
from stages.data.loading.loader import capped_image
from stages.data.loading.sample import UNSUPERVISED, Image, Sample, as_image
from stages.data.spec import TOKENIZER
from stages.data.tokens.preference import BEGINS
from stages.data.tokens.tokenizer import Tokenizer, of_corpus
from stages.data.tokens.tokenizer_use import FILE
from stages.errors import UserError


@dataclass(frozen=True)
class Pairs:
    """Held-out image-caption pairs; `digits` [n] is the digit drawn, or -1 where there is not exactly one."""

    images: tuple[Image, ...]
    captions: NDArray[np.int64]  # [n, length], padded
    lengths: NDArray[np.int64]  # [n]
    digits: NDArray[np.int64]  # [n]


@dataclass(frozen=True)
class Piece:
    """Tokens [start, end) of one document."""

    document: int
    start: int
    end: int


class Heldout:
    """Held-out documents of the corpora prepared under one folder (results/<scale>/data)."""

    def __init__(self, data_root: Path) -> None:
        self._root = data_root
        self._corpora: dict[str, Corpus] = {}
        self._tokenizers: dict[str, Tokenizer] = {}

    def tokenizer(self, name: str) -> Tokenizer:
        """The tokenizer that a corpus was prepared with, opened once."""
        digest = self.corpus(name).manifest.tokenizer
        if digest not in self._tokenizers:
            self._tokenizers[digest] = of_corpus(self._root / name, self._root / TOKENIZER / FILE)
        return self._tokenizers[digest]

    def corpus(self, name: str) -> Corpus:
        """A prepared corpus, opened once. Raises UserError if it is not prepared."""
        if name not in self._corpora:
            self._corpora[name] = Corpus(self._root / name)
        return self._corpora[name]

    def refuse_changed(self) -> None:
        """Raise UserError where a file of a corpus has been written to since it was opened."""
        for corpus in self._corpora.values():
            corpus.refuse_changed()

    def kind(self, name: str) -> ManifestKind:
        """What a corpus contains."""
        return self.corpus(name).manifest.kind

    def documents(self, name: str) -> range:
        """Numbers of a corpus's held-out documents."""
        corpus = self.corpus(name)
        return range(corpus.training_documents, corpus.documents)

    def tokens(self, name: str, document: int) -> NDArray[np.int64]:
        """All tokens of a document, BOS and EOS included."""
        corpus = self.corpus(name)
        return corpus.tokens[corpus.offsets[document] : corpus.offsets[document + 1]].astype(np.int64)

    def supervised(self, name: str, document: int) -> NDArray[np.bool_]:
        """Which of a document's tokens are learned in fine-tuning; none where the corpus has no conversations."""
        corpus = self.corpus(name)
        stretch = slice(corpus.offsets[document], corpus.offsets[document + 1])
        if corpus.supervised is None:
            return np.zeros(stretch.stop - stretch.start, dtype=np.bool_)
        return np.asarray(corpus.supervised[stretch]) == 1

    def images(self, name: str, document: int) -> tuple[Image, ...]:
        """A document's pictures in order."""
        corpus = self.corpus(name)
        if corpus.pictures is None:
            return ()
        return tuple(as_image(raw, corpus.manifest.channels) for raw in corpus.raw_pictures(document))

    def rows(self, name: str, context: int, count: int, document_mask: bool) -> list[Sample]:
        """Up to `count` rows of at most `context` tokens.

        Text: windows of the concatenated documents, cut where a window ends. Other corpora: whole documents, as many
        as fit into a row; documents longer than the context are left out.
        """
        pieces = self._windows(name, context) if self.kind(name) == "text" else self._whole(name, context)
        return [self._sample(name, row, document_mask) for row in islice(pieces, count)]

    def stretches(self, names: Sequence[str], length: int, count: int) -> list[NDArray[np.int64]]:
        """Up to `count` stretches of exactly `length` tokens, each inside one document, the corpora in turn.

        Where no document is that long, documents are joined. Raises UserError when all of them together are too short.
        """
        inside = zip_longest(*(islice(self._stretches(name, length), count) for name in names))
        found = [stretch for turn in inside for stretch in turn if stretch is not None][:count]
        if not found:
            joined = np.concatenate([self.tokens(name, number) for name in names for number in self.documents(name)])
            found = [joined[at : at + length] for at in range(0, len(joined) - length + 1, length)][:count]
        if not found:
            raise UserError(
                f"{', '.join(names)}: {len(joined)} held-out tokens, an evaluation needs rows of {length}. "
                "Lower the evaluation's context or add longer documents to the corpus."
            )
        return found

    def pairs(self, name: str, count: int, cap: int) -> Pairs:
        """The first `count` pairs, padded as in training; pictures at most `cap` pixels a side."""
        corpus, chosen = self.corpus(name), self.documents(name)[:count]
        captions = np.full((len(chosen), corpus.manifest.longest), corpus.roles.fill, dtype=np.int64)
        lengths = np.zeros(len(chosen), dtype=np.int64)
        for row, document in enumerate(chosen):
            tokens = self.tokens(name, document)
            captions[row, : len(tokens)], lengths[row] = tokens, len(tokens)
        assert corpus.pictures is not None
        digits = np.array([corpus.pictures[corpus.first_picture(document), 4] for document in chosen], dtype=np.int64)
        return Pairs(tuple(capped_image(corpus, document, cap) for document in chosen), captions, lengths, digits)

    def answers(self, name: str, context: int, count: int, ends: bool) -> list[Sample]:
        """The first `count` pairs of answers: a row for each conversation, the chosen one of a pair first.

        Pairs with one that is longer than the context are left out. Without `ends`, what ends a turn is no target.
        """
        found = [side for document in self.documents(name) for side in self._sides(name, document, context, ends)]
        return found[: 2 * count]

    def _sides(self, name: str, document: int, context: int, ends: bool) -> list[Sample]:
        corpus, tokens = self.corpus(name), self.tokens(name, document)
        assert corpus.supervised is not None
        start = int(corpus.offsets[document])
        mask = np.asarray(corpus.supervised[start : start + len(tokens)])
        middle, target = int(np.argmax(mask == BEGINS)), mask == 1
        if not ends:
            target &= ~np.isin(tokens, corpus.roles.ends)
        if max(middle, len(tokens) - middle) > context:
            return []
        labels = np.append(np.where(target, tokens, UNSUPERVISED)[1:], UNSUPERVISED)
        labels[middle - 1] = UNSUPERVISED  # what begins the other conversation
        sides = (slice(0, middle), slice(middle, len(tokens)))
        return [
            Sample(
                tokens=tokens[side], labels=labels[side], segments=np.zeros(side.stop - side.start, dtype=np.int32),
                positions=np.arange(side.stop - side.start, dtype=np.int64), images=(),
                spans=((name, document, side.start, side.stop),), image=corpus.roles.image, fill=corpus.roles.fill,
            )
            for side in sides
        ]  # fmt: skip

    def _windows(self, name: str, context: int) -> Iterator[list[Piece]]:
        row: list[Piece] = []
        room = context
        for document in self.documents(name):
            start, size = 0, len(self.tokens(name, document))
            while start < size:
                end = min(size, start + room)
                row.append(Piece(document, start, end))
                room, start = room - (end - start), end
                if room == 0:
                    yield row
                    row, room = [], context

    def _whole(self, name: str, context: int) -> Iterator[list[Piece]]:
        row: list[Piece] = []
        room = context
        for document in self.documents(name):
            size = len(self.tokens(name, document))
            if size > context:
                continue
            if size > room:
                yield row
                row, room = [], context
            row.append(Piece(document, 0, size))
            room -= size
        if row:
            yield row

    def _stretches(self, name: str, length: int) -> Iterator[NDArray[np.int64]]:
        for document in self.documents(name):
            tokens = self.tokens(name, document)
            for start in range(0, len(tokens) - length + 1, length):
                yield tokens[start : start + length]

    def _sample(self, name: str, row: Sequence[Piece], document_mask: bool) -> Sample:
        sizes = [piece.end - piece.start for piece in row]
        starts = np.arange(sum(sizes), dtype=np.int64)
        positions = np.concatenate([np.arange(size, dtype=np.int64) for size in sizes]) if document_mask else starts
        return Sample(
            tokens=np.concatenate([self.tokens(name, p.document)[p.start : p.end] for p in row]),
            labels=np.concatenate([self._labels(name, piece) for piece in row]),
            segments=np.repeat(np.arange(len(row), dtype=np.int32), sizes),
            positions=positions,
            images=tuple(image for piece in row for image in self.images(name, piece.document)),
            spans=tuple((name, piece.document, piece.start, piece.end) for piece in row),
            image=self.corpus(name).roles.image,
            fill=self.corpus(name).roles.fill,
        )

    def _labels(self, name: str, piece: Piece) -> NDArray[np.int64]:
        corpus, tokens = self.corpus(name), self.tokens(name, piece.document)
        target = tokens != corpus.roles.image
        if corpus.supervised is not None:
            start = int(corpus.offsets[piece.document])
            target &= corpus.supervised[start : start + len(tokens)] == 1
        labels = np.full(len(tokens), UNSUPERVISED, dtype=np.int64)
        labels[:-1] = np.where(target[1:], tokens[1:], UNSUPERVISED)
        return labels[piece.start : piece.end]
