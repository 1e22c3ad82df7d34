"""Reading one source of a phase: the samples of its stretch of a corpus, by ordinal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.data.corpus.prepared import Corpus
from stages.data.loading.sample import PADDING, UNSUPERVISED, Image, Sample, as_image
from stages.data.loading.windows import Windows
from stages.data.spec import preparing
from stages.data.tokens.preference import BEGINS
from stages.errors import UserError
from stages.spec.resolved_phases import Phase, Source, both_answers


class SourceReader:
    """The samples of one source: ordinal -> Sample, a pure function of (phase, seed, scope, ordinal)."""

    def __init__(self, phase: Phase, source: Source, seed: int, scope: str, data_root: Path) -> None:
        """Raises UserError if the prepared corpus is not the declared one or does not reach as far as the source."""
        self.corpus = open_source(source, data_root)
        self.phase, self.source = phase, source
        self._roles = self.corpus.roles
        masks_ends = phase.preference is not None and phase.preference.turn_ends == "masked"
        self._ends = self._roles.ends if masks_ends else []  # tokens that are no target, though of an answer
        self.windows = Windows(phase, source, seed, scope, self.corpus)
        if self.corpus.manifest.kind == "multimodal":
            longest = int(np.diff(self.corpus.offsets[self.windows.first : self.windows.last + 1]).max())
            if longest > phase.context:
                raise UserError(
                    f"corpus {source.corpus}: a document has {longest} tokens with its pictures, the context is "
                    f"{phase.context}; give the phase a longer context or another corpus"
                )
        if self.windows.whole and not self.windows.count:
            documents = self.windows.last - self.windows.first
            raise UserError(
                f"corpus {source.corpus}, phase {phase.name}: none of its {documents} documents fits into "
                f"the context of {phase.context}{both_answers(source.kind)}; "
                "give the phase a longer context or another corpus"
            )

    def sample(self, ordinal: int) -> Sample:
        """Sample number `ordinal` of this source. Raises UserError when the epochs are used up."""
        epoch, window = self.windows.at(ordinal)
        if self.windows.whole:
            return self._pack(self.windows.documents(epoch, window), self.phase.context)
        return self._window(window)

    def short_row(self, ordinal: int, length: int) -> Sample | None:
        """A row of `length` tokens in place of a whole window: of the documents from there on, the first that fit.

        None where no document left in the epoch, or no window, is so short. A window of plain text is cut.
        """
        if ordinal >= self.windows.available:
            return None
        if self.windows.text:
            return self.sample(ordinal).cut(length, 1)
        documents = self.windows.short(ordinal, length)
        return self._pack(documents, length) if len(documents) else None

    def _window(self, window: int) -> Sample:
        """`context` positions of the concatenated documents, and the token after them as the last target."""
        context, offsets = self.phase.context, self.corpus.offsets
        start = self.windows.start(window)
        stretch = slice(start, start + context + 1)
        tokens = np.asarray(self.corpus.tokens[stretch], dtype=np.int64)
        first, last = offsets.searchsorted([start, start + context], side="right") - 1
        borders = np.array(offsets[first : last + 2])  # of the row's part of each document
        borders[0], borders[-1] = start, start + context + 1
        numbers = np.repeat(np.arange(len(borders) - 1), np.diff(borders))
        labels = np.where(self._targets(stretch, tokens)[1:] & (numbers[1:] == numbers[:-1]), tokens[1:], UNSUPERVISED)
        within = np.arange(start, start + context) - borders[numbers[:-1]]
        segments, positions = self._masked(numbers[:-1], within)
        spans = self.windows.spans_from(start)
        return Sample(tokens[:-1], labels, segments, positions, (), spans, self._roles.image, self._roles.fill)

    def _pack(self, documents: NDArray[np.int64], context: int) -> Sample:
        """Whole documents side by side, then padding up to `context`."""
        offsets = self.corpus.offsets
        begins = offsets[documents]
        lengths = offsets[documents + 1] - begins
        filled = int(lengths.sum())
        numbers = np.repeat(np.arange(len(documents)), lengths)
        within = np.arange(filled) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        places = np.repeat(begins, lengths) + within
        if self.phase.preference is not None:
            numbers, within = self._apart(places, numbers, within)
        row = np.asarray(self.corpus.tokens[places], dtype=np.int64)
        follows = np.append(numbers[1:] == numbers[:-1], False)
        targets = np.append(self._targets(places, row)[1:], False) & follows
        tokens = np.full(context, self._roles.fill, dtype=np.int64)
        labels = np.full(context, UNSUPERVISED, dtype=np.int64)
        segments, positions = np.full(context, PADDING, dtype=np.int32), np.zeros(context, dtype=np.int64)
        tokens[:filled] = row
        labels[:filled] = np.where(targets, np.append(row[1:], self._roles.fill), UNSUPERVISED)
        segments[:filled], positions[:filled] = self._masked(numbers, within)
        images: tuple[Image, ...] = ()
        if self.corpus.pictures is not None:
            channels = self.corpus.manifest.channels
            raw = (picture for number in documents.tolist() for picture in self.corpus.raw_pictures(number))
            images = tuple(as_image(picture, channels) for picture in raw)
        spans = self.windows.spans_of(documents)
        return Sample(tokens, labels, segments, positions, images, spans, self._roles.image, self._roles.fill)

    def _targets(self, places: slice | NDArray[np.int64], tokens: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of these tokens may be a target: never a picture's, and in SFT only answers."""
        if self.phase.answers_alone and self.corpus.supervised is not None:
            answers = np.asarray(self.corpus.supervised[places]) == 1
            return answers & ~np.isin(tokens, self._ends) if len(self._ends) else answers
        return tokens != self._roles.image

    def _apart(
        self, places: NDArray[np.int64], numbers: NDArray[np.int64], within: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The two conversations of each pair as documents 2k (chosen) and 2k + 1 (rejected), and places within them."""
        assert self.corpus.supervised is not None
        borders = np.asarray(self.corpus.supervised[places]) == BEGINS
        starts = np.flatnonzero(borders)  # one for each pair, in order
        rejected = np.arange(len(places)) >= starts[numbers]
        return 2 * numbers + rejected, np.where(rejected, np.arange(len(places)) - starts[numbers], within)

    def _masked(
        self, numbers: NDArray[np.int64], within: NDArray[np.int64]
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """(segments, positions): per document where documents are masked, else one running segment."""
        if self.phase.document_mask:
            return numbers.astype(np.int32), within
        return np.zeros(len(numbers), dtype=np.int32), np.arange(len(numbers), dtype=np.int64)


def scope(phase: Phase) -> str:
    """What sets a phase's order of data apart: what it reads. Names are not in a stage's key, so not here either."""
    return " ".join(f"{source.corpus}:{source.start}-{source.end}" for source in phase.sources)


def open_source(source: Source, data_root: Path) -> Corpus:
    """Open a source's corpus. Raises UserError if its digest or its size is not what the stage was resolved with."""
    corpus = Corpus(data_root / source.corpus)
    if corpus.manifest.digest != source.digest:
        raise UserError(
            f"{corpus.folder}: has digest {corpus.manifest.digest}, the stage wants {source.digest}; "
            f"run `{preparing(corpus.folder)}`"
        )
    if not 0 <= source.start < source.end <= corpus.manifest.size:
        raise UserError(
            f"corpus {source.corpus}: the phase asks for [{source.start}, {source.end}), "
            f"training reaches from 0 to {corpus.manifest.size}"
        )
    return corpus
