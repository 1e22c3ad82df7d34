"""What every sample of a phase reads, without reading it, and which samples read a document.

The order is a pure function that can be inverted, so neither needs an index or a log. It is the loader's own: windows,
pairs and mixture are the objects that `loader.PhaseData` reads through.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stages.contract import ledger
from stages.contract.mixture import Mixture
from stages.data.loading.pairs import Pairs
from stages.data.loading.sample import Span, cut_spans
from stages.data.loading.windows import Windows
from stages.spec.resolved_phases import Phase


@dataclass(frozen=True)
class Row:
    """What one sample of a phase reads: `ordinal` counts the samples of its source, `epoch` from 0.

    `source` is an index into the phase's sources. Epoch and spans are None where the corpus is not prepared. A row of
    padding alone has no source, no epoch and no spans.
    """

    sample: int
    source: int | None
    ordinal: int | None
    epoch: int | None
    spans: tuple[Span, ...] | None


class Trace:
    """Rows of a language model's phase. `windows`: of each source, None where its corpus is not prepared."""

    def __init__(self, phase: Phase, windows: Sequence[Windows | None]) -> None:
        self.phase, self.windows = phase, tuple(windows)
        self.mixture = Mixture(phase)

    def row(self, i: int, tail: int) -> Row:
        """Sample i, of which only the first `tail` positions are read if tail > 0. Raises UserError as the loader."""
        if tail and self.phase.answers_alone:
            return self._short(i, tail)
        source, ordinal = self.mixture.pick(i)
        windows = self.windows[source]
        if windows is None:
            return Row(i, source, ordinal, None, None)
        spans = windows.spans(ordinal)
        return Row(i, source, ordinal, windows.at(ordinal)[0], cut_spans(spans, tail) if tail else spans)

    def orders(self, corpus: str) -> list[Windows]:
        """The phase's stretches of a corpus, if it is open."""
        return [one for one in self.windows if one is not None and one.source.corpus == corpus]

    def holding(self, corpus: str, document: int) -> Iterator[int]:
        """The samples of the phase that read some of a document, if they are not cut."""
        samples = ledger.samples(self.phase)
        for number, windows in enumerate(self.windows):
            if windows is not None and windows.source.corpus == corpus:
                places = (self.mixture.place(number, ordinal, samples) for ordinal in windows.holding(document))
                yield from (place for place in places if place is not None)

    def _short(self, i: int, length: int) -> Row:
        """The cut row of conversations: of the first source from sample i on that has something so short."""
        for source, ordinal in self.mixture.ahead(i):
            windows = self.windows[source]
            if windows is None:
                return Row(i, source, ordinal, None, None)
            spans = windows.short_spans(ordinal, length)
            if spans:
                return Row(i, source, ordinal, windows.at(ordinal)[0], spans)
        return Row(i, None, None, None, ())


class PairTrace:
    """Rows of a CoCa phase; without the prepared corpus nothing is known of them."""

    def __init__(self, phase: Phase, pairs: Pairs | None) -> None:
        self.phase, self._pairs = phase, pairs

    def row(self, i: int, tail: int) -> Row:
        """Row i, of at most `tail` patches if tail > 0. A span is a whole item: [0, 1)."""
        if self._pairs is None:
            return Row(i, 0, None, None, None)
        patches, corpus = tail or self.phase.context, self._pairs.source.corpus
        spans = tuple((corpus, item, 0, 1) for item in self._pairs.items(i, patches))
        return Row(i, 0, self._pairs.ordinals(i, patches)[0], self._pairs.epoch(i), spans)

    def orders(self, corpus: str) -> list[Pairs]:
        """The phase's stretch of a corpus, if it is open."""
        return [one for one in (self._pairs,) if one is not None and one.source.corpus == corpus]

    def holding(self, corpus: str, document: int) -> Iterator[int]:
        """The rows of the phase that have an item, if they are not cut."""
        samples = ledger.samples(self.phase)
        for pairs in self.orders(corpus):
            yield from (row for row in pairs.holding(document) if row < samples)
