"""Reading one source of a phase: the samples of its stretch of a corpus, by ordinal."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.contract import order
from stages.contract.order import Permutation
from stages.data import packing
from stages.data.folders import preparing
from stages.data.prepared import Corpus
from stages.data.sample import PADDING, UNSUPERVISED, Image, Sample, as_image
from stages.errors import UserError
from stages.spec.resolved_phases import Phase, Source


class SourceReader:
    """The samples of one source: ordinal -> Sample, a pure function of (phase, seed, scope, ordinal)."""

    def __init__(self, phase: Phase, source: Source, seed: int, scope: str, data_root: Path) -> None:
        """Raises UserError if the prepared corpus is not the declared one or does not reach as far as the source."""
        self.corpus = open_source(source, data_root)
        self.phase, self.source = phase, source
        self._roles = self.corpus.roles
        self._seed, self._scope = seed, scope
        self.first, self.last = self.corpus.document_range(source.start, source.end)
        if self.first >= self.last:
            raise UserError(f"corpus {source.corpus}: no document begins in [{source.start}, {source.end})")
        self.whole = phase.whole(self.corpus.manifest.kind)
        self.fixed = self.whole and phase.packing == "fixed"
        if self.corpus.manifest.kind == "multimodal":
            longest = int(np.diff(self.corpus.offsets[self.first : self.last + 1]).max())
            if longest > phase.context:
                raise UserError(
                    f"corpus {source.corpus}: a document has {longest} tokens with its pictures, the context is "
                    f"{phase.context}; give the phase a longer context or another corpus"
                )
        if self.whole and not self.windows:
            raise UserError(
                f"corpus {source.corpus}, phase {phase.name}: none of its {self.last - self.first} documents fits into "
                f"the context of {phase.context}; give the phase a longer context or another corpus"
            )

    def sample(self, ordinal: int) -> Sample:
        """Sample number `ordinal` of this source. Raises UserError when the epochs are used up."""
        if self.whole:
            plan, window = self._whole_window(ordinal)
            return self._pack(plan.documents[plan.starts[window] : plan.starts[window + 1]], self.phase.context)
        epoch, place = divmod(ordinal, max(1, self.windows))
        if epoch >= self.phase.epochs or not self.windows:
            raise exhausted(self.source, self.phase, ordinal, self.windows * self.phase.epochs)
        return self._window(self._orders[epoch](place))

    def short_row(self, ordinal: int, room: int) -> Sample | None:
        """A row of `room` tokens in place of a whole window: of the documents from there on, the first that fit.

        None where no document left in the epoch, or no window, is so short. A window of plain text is cut.
        """
        if ordinal >= self.available:
            return None
        if self.corpus.manifest.kind == "text":
            return self.sample(ordinal).cut(room, 1)
        if ordinal >= sum(plan.windows for plan in self._plans):  # where rows are windows, there may be more of them
            return None
        plan, window = self._whole_window(ordinal)
        documents = plan.documents[plan.starts[window] :]
        lengths = self.corpus.offsets[documents + 1] - self.corpus.offsets[documents]
        documents, lengths = documents[lengths <= room], lengths[lengths <= room]
        fitting = int(np.searchsorted(np.cumsum(lengths), room, side="right"))
        return self._pack(documents[:fitting], room) if fitting else None

    @property
    def left_out(self) -> int:
        """Documents of the stretch that no window can hold."""
        return self._plans[0].left_out if self.whole else 0

    @property
    def available(self) -> int:
        """Samples that the stretch has in the declared epochs."""
        return sum(plan.windows for plan in self._plans) if self.whole else self.windows * self.phase.epochs

    @cached_property
    def windows(self) -> int:
        """Windows of one epoch (the first, for whole packing)."""
        if self.whole:
            return self._plans[0].windows
        tokens = int(self.corpus.offsets[self.last] - self.corpus.offsets[self.first])
        return packing.concatenated_windows(tokens, self.phase.context)

    @cached_property
    def plan_digests(self) -> tuple[str, ...]:
        """Digest of each epoch's packing plan; empty for concatenated windows."""
        return tuple(plan.digest for plan in self._plans) if self.whole else ()

    @cached_property
    def _plans(self) -> list[packing.Plan]:
        lengths = np.diff(self.corpus.offsets[self.first : self.last + 1])
        context, epochs = self.phase.context, range(self.phase.epochs)
        if self.fixed:
            return [packing.plan(lengths, self.first, context, None)] * len(epochs)
        return [packing.plan(lengths, self.first, context, self._key(epoch)) for epoch in epochs]

    @cached_property
    def _orders(self) -> list[Permutation]:
        return [Permutation(self.windows, self._key(epoch)) for epoch in range(self.phase.epochs)]

    def _key(self, epoch: int) -> bytes:
        return order.key(self._seed, self._scope, self.source.corpus, epoch)

    def _whole_window(self, ordinal: int) -> tuple[packing.Plan, int]:
        """The plan that holds a sample, and its window there; windows of a fixed plan come in permuted order."""
        left = ordinal
        for epoch, plan in enumerate(self._plans):
            if left < plan.windows:
                return plan, self._orders[epoch](left) if self.fixed else left
            left -= plan.windows
        raise exhausted(self.source, self.phase, ordinal, ordinal - left)

    def _window(self, window: int) -> Sample:
        """`context` positions of the concatenated documents, and the token after them as the last target."""
        context, offsets = self.phase.context, self.corpus.offsets
        start = int(offsets[self.first]) + window * context
        stretch = slice(start, start + context + 1)
        tokens = np.asarray(self.corpus.tokens[stretch], dtype=np.int64)
        document = np.searchsorted(offsets, np.arange(start, start + context + 1), side="right") - 1
        labels = np.where(
            self._targets(stretch, tokens)[1:] & (document[1:] == document[:-1]), tokens[1:], UNSUPERVISED
        )
        numbers = document[:-1]
        begins = np.maximum(offsets[numbers], start)  # the row's part of a document starts here
        within = np.arange(start, start + context) - begins
        segments, positions = self._masked(numbers - numbers[0], within)
        read = range(int(numbers[0]), int(numbers[-1]) + 1)
        spans = tuple(self._span(number, start, start + context) for number in read)
        return Sample(tokens[:-1], labels, segments, positions, (), spans, self._roles.image, self._roles.fill)

    def _span(self, number: int, start: int, end: int) -> tuple[str, int, int, int]:
        begin, after = int(self.corpus.offsets[number]), int(self.corpus.offsets[number + 1])
        return self.source.corpus, number, max(begin, start) - begin, min(after, end) - begin

    def _pack(self, documents: NDArray[np.int64], context: int) -> Sample:
        """Whole documents side by side, then padding up to `context`."""
        offsets = self.corpus.offsets
        begins = offsets[documents]
        lengths = offsets[documents + 1] - begins
        filled = int(lengths.sum())
        numbers = np.repeat(np.arange(len(documents)), lengths)
        within = np.arange(filled) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        places = np.repeat(begins, lengths) + within
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
        spans = tuple((self.source.corpus, d, 0, n) for d, n in zip(documents.tolist(), lengths.tolist(), strict=True))
        return Sample(tokens, labels, segments, positions, images, spans, self._roles.image, self._roles.fill)

    def _targets(self, places: slice | NDArray[np.int64], tokens: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of these tokens may be a target: never a picture's, and in SFT only answers."""
        if self.phase.objective == "sft" and self.corpus.supervised is not None:
            return np.asarray(self.corpus.supervised[places]) != 0
        return tokens != self._roles.image

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
            f"{corpus.folder}: holds digest {corpus.manifest.digest}, the stage wants {source.digest}; "
            f"run `{preparing(corpus.folder)}`"
        )
    if not 0 <= source.start < source.end <= corpus.manifest.size:
        raise UserError(
            f"corpus {source.corpus}: the phase asks for [{source.start}, {source.end}), "
            f"training reaches from 0 to {corpus.manifest.size}"
        )
    return corpus


def exhausted(source: Source, phase: Phase, ordinal: int, available: int) -> UserError:
    """The error for a source that is used up."""
    return UserError(
        f"corpus {source.corpus}, phase {phase.name}: sample {ordinal + 1} of [{source.start}, {source.end}) is "
        f"needed, {available} are there in {phase.epochs} epoch(s). `stages run` counts them before the first step"
    )
