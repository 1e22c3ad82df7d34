"""Which documents each sample of a source is made of: order and packing, without reading a token; and the inverse."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from stages.contract import order
from stages.contract.order import Permutation
from stages.data.corpus.prepared import Corpus
from stages.data.loading import packing
from stages.data.loading.sample import Span, cut_spans
from stages.errors import UserError
from stages.spec.resolved_phases import Phase, Source


class Windows:
    """Ordinal of a source -> window of an epoch -> documents, a pure function of (phase, source, seed, scope)."""

    def __init__(self, phase: Phase, source: Source, seed: int, scope: str, corpus: Corpus) -> None:
        """Raises UserError if no document begins in the source's stretch."""
        self.phase, self.source, self.offsets = phase, source, corpus.offsets
        self._seed, self._scope = seed, scope
        self.first, self.last = corpus.document_range(source.start, source.end)
        if self.first >= self.last:
            raise UserError(f"corpus {source.corpus}: no document begins in [{source.start}, {source.end})")
        self.text = corpus.manifest.kind == "text"
        self.whole = phase.whole(corpus.manifest.kind)
        self.fixed = self.whole and phase.packing == "fixed"

    @cached_property
    def count(self) -> int:
        """Windows of one epoch (the first, for whole packing)."""
        if self.whole:
            return self._plans[0].windows
        tokens = int(self.offsets[self.last] - self.offsets[self.first])
        return packing.concatenated_windows(tokens, self.phase.context)

    @property
    def available(self) -> int:
        """Samples that the stretch has in the declared epochs."""
        return sum(plan.windows for plan in self._plans) if self.whole else self.count * self.phase.epochs

    @property
    def left_out(self) -> int:
        """Documents of the stretch that are longer than any window."""
        return self._plans[0].left_out if self.whole else 0

    def at(self, ordinal: int) -> tuple[int, int]:
        """(epoch, window) of a sample of the source. Raises UserError when the epochs are used up."""
        if not self.whole:
            epoch, place = divmod(ordinal, max(1, self.count))
            if epoch >= self.phase.epochs or not self.count:
                raise exhausted(self.source, self.phase, ordinal, self.count * self.phase.epochs)
            return epoch, self._orders[epoch](place)
        return self._planned(ordinal)

    def documents(self, epoch: int, window: int) -> NDArray[np.int64]:
        """The documents of a window of whole ones, in their order."""
        plan = self._plans[epoch]
        return plan.documents[plan.starts[window] : plan.starts[window + 1]]

    def start(self, window: int) -> int:
        """Where in the corpus, in tokens, a window of concatenated documents begins."""
        return int(self.offsets[self.first]) + window * self.phase.context

    def spans(self, ordinal: int) -> tuple[Span, ...]:
        """What a sample of the source reads of which documents. Raises UserError when the epochs are used up."""
        epoch, window = self.at(ordinal)
        return self.spans_of(self.documents(epoch, window)) if self.whole else self.spans_from(self.start(window))

    def spans_of(self, documents: NDArray[np.int64]) -> tuple[Span, ...]:
        """Spans of whole documents."""
        lengths = self.offsets[documents + 1] - self.offsets[documents]
        found = zip(documents.tolist(), lengths.tolist(), strict=True)
        return tuple((self.source.corpus, document, 0, length) for document, length in found)

    def spans_from(self, start: int) -> tuple[Span, ...]:
        """Spans of the concatenated documents' tokens [start, start + context)."""
        end = start + self.phase.context
        first, last = (self.offsets.searchsorted([start, end - 1], side="right") - 1).tolist()
        borders = self.offsets[first : last + 2].tolist()
        return tuple(
            (self.source.corpus, number, max(begin, start) - begin, min(after, end) - begin)
            for number, begin, after in zip(range(first, last + 1), borders[:-1], borders[1:], strict=True)
        )

    def short(self, ordinal: int, length: int) -> NDArray[np.int64]:
        """Of the documents from a sample's window on, the first that fit into `length` tokens; those of the epoch.

        Empty where none is so short. Of plain text a window is cut instead.
        """
        if ordinal >= sum(plan.windows for plan in self._plans):  # where rows are windows, there may be more of them
            return np.zeros(0, dtype=np.int64)
        epoch, window = self._planned(ordinal)
        plan = self._plans[epoch]
        documents = plan.documents[plan.starts[window] :]
        lengths = self.offsets[documents + 1] - self.offsets[documents]
        documents, lengths = documents[lengths <= length], lengths[lengths <= length]
        return documents[: int(np.searchsorted(np.cumsum(lengths), length, side="right"))]

    def short_spans(self, ordinal: int, length: int) -> tuple[Span, ...]:
        """Spans of a row of `length` tokens in place of a sample's; none where nothing of the source is so short."""
        if ordinal >= self.available:
            return ()
        if self.text:
            return cut_spans(self.spans(ordinal), length)
        return self.spans_of(self.short(ordinal, length))

    def holding(self, document: int) -> Iterator[int]:
        """The ordinals, over all epochs, of the samples that read some of a document: the inverse of `spans`."""
        if not self.first <= document < self.last:
            return
        before = 0
        for epoch in range(self.phase.epochs):
            windows = self._plans[epoch].windows if self.whole else self.count
            for window in self._windows_of(epoch, document):
                permuted = self.fixed or not self.whole
                yield before + (self._orders[epoch].inverse(window) if permuted else window)
            before += windows

    def _planned(self, ordinal: int) -> tuple[int, int]:
        """(epoch, window) in the packing plans; windows of a fixed plan come in permuted order."""
        left = ordinal
        for epoch, plan in enumerate(self._plans):
            if left < plan.windows:
                return epoch, self._orders[epoch](left) if self.fixed else left
            left -= plan.windows
        raise exhausted(self.source, self.phase, ordinal, ordinal - left)

    def _windows_of(self, epoch: int, document: int) -> Iterator[int]:
        if self.whole:
            plan = self._plans[epoch]
            places = np.flatnonzero(plan.documents == document)
            yield from (np.searchsorted(plan.starts, places, side="right") - 1).tolist()
            return
        start, end = (self.offsets[document : document + 2] - self.offsets[self.first]).tolist()
        yield from range(start // self.phase.context, min(-(-end // self.phase.context), self.count))

    @cached_property
    def _plans(self) -> list[packing.Plan]:
        lengths = np.diff(self.offsets[self.first : self.last + 1])
        context, epochs = self.phase.context, range(self.phase.epochs)
        if self.fixed:
            return [packing.plan(lengths, self.first, context, None)] * len(epochs)
        return [packing.plan(lengths, self.first, context, self._key(epoch)) for epoch in epochs]

    @cached_property
    def _orders(self) -> list[Permutation]:
        return [Permutation(self.count, self._key(epoch)) for epoch in range(self.phase.epochs)]

    def _key(self, epoch: int) -> bytes:
        return order.key(self._seed, self._scope, self.source.corpus, epoch)


def exhausted(source: Source, phase: Phase, ordinal: int, available: int) -> UserError:
    """The error for a source that is used up."""
    return UserError(
        f"corpus {source.corpus}, phase {phase.name}: sample {ordinal + 1} of [{source.start}, {source.end}) is "
        f"needed, {available} are there in {phase.epochs} epoch(s). `stages run` counts them before the first step"
    )
