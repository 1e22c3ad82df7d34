"""The data of a phase: sample i is a pure function of (phase, seed, scope, i), for any worker count or cut."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.contract import ledger
from stages.contract.mixture import Mixture
from stages.data.corpus.prepared import Corpus
from stages.data.generated import digits
from stages.data.loading.pairs import Pairs
from stages.data.loading.readers import SourceReader, open_source
from stages.data.loading.sample import Image, PairRow, Sample, as_image, blank
from stages.errors import UserError
from stages.spec.resolved_phases import Phase, Source


@dataclass(frozen=True)
class Supply:
    """What a phase needs of a source and what the source has in the declared epochs: rows, or items of pairs."""

    source: Source
    unit: str
    needed: int
    available: int
    documents: int  # of the stretch
    left_out: int  # of these, longer than the context


class PhaseData:
    """Samples (language models) or rows of pairs (CoCa) of one phase, memory-mapped, in the contract's order.

    `scope` names the stage and phase, so that no two phases share an order; `data_root` contains the prepared corpora.
    """

    def __init__(self, phase: Phase, seed: int, scope: str, data_root: Path) -> None:
        """Raises UserError if a corpus is missing, is not the declared one, or does not fit the phase."""
        self.phase = phase
        if phase.objective == "coca":
            self._pairs = _PairReader(phase, seed, scope, data_root)
            return
        self._mixture = Mixture(phase)
        self._readers = tuple(SourceReader(phase, source, seed, scope, data_root) for source in phase.sources)

    def samples(self, first: int, count: int, tail: int) -> list[Sample]:
        """Samples [first, first + count); if tail > 0 the last one has only its first `tail` positions.

        Of conversations the cut row contains those that fit whole, since a conversation that is cut loses its answer.
        Raises UserError when a source has no more windows and no more epochs.
        """
        out = []
        for i in range(first, first + count):
            source, ordinal = self._mixture.pick(i)
            out.append(self._readers[source].sample(ordinal))
        if tail and out and self.phase.answers_alone:
            out[-1] = self._short_row(first + count - 1, tail)
        elif tail and out:
            source, _ = self._mixture.pick(first + count - 1)
            out[-1] = out[-1].cut(tail, max(1, self._readers[source].corpus.manifest.cell))
        return out

    def pairs(self, first: int, count: int, tail: int) -> list[PairRow]:
        """CoCa rows [first, first + count); if tail > 0 the last one has at most `tail` patches."""
        rows = [self._pairs.row(i, self.phase.context) for i in range(first, first + count)]
        if tail and rows:
            rows[-1] = self._pairs.row(first + count - 1, tail)
        return rows

    def _short_row(self, i: int, length: int) -> Sample:
        """A short row of the source of sample i or, where it has nothing so short, of one that comes after it.

        Where no conversation is so short, the row is padding. A step that would contain nothing else is an error of the
        objective's.
        """
        for source, ordinal in self._mixture.ahead(i):
            row = self._readers[source].short_row(ordinal, length)
            if row is not None:
                return row
        return blank(length, self._readers[0].corpus.roles)

    def supplies(self) -> tuple[Supply, ...]:
        """For each source how much the whole phase needs of it, and how much is there; nothing is read for it."""
        if self.phase.objective == "coca":
            return (self._pairs.supply(),)
        counts = self._mixture.counts(ledger.samples(self.phase))
        return tuple(
            Supply(one.source, "rows", needed, one.available, one.last - one.first, one.left_out)
            for one, needed in zip((reader.windows for reader in self._readers), counts, strict=True)
        )

    def refuse_changed(self) -> None:
        """Raise UserError where a file of a corpus has been written to since it was opened: `Corpus.refuse_changed`."""
        corpora = [self._pairs.corpus] if self.phase.objective == "coca" else [one.corpus for one in self._readers]
        for corpus in corpora:
            corpus.refuse_changed()

    @property
    def left_out(self) -> dict[str, int]:
        """By corpus, how many documents of its stretch are longer than the context and therefore not read."""
        if self.phase.objective == "coca":
            return {}
        return {one.source.corpus: one.windows.left_out for one in self._readers if one.windows.left_out}


class _PairReader:
    """Rows of image-caption pairs."""

    def __init__(self, phase: Phase, seed: int, scope: str, data_root: Path) -> None:
        if len(phase.sources) != 1 or phase.coca is None:
            raise UserError(f"phase {phase.name}: the coca objective reads exactly one corpus of pairs")
        (self._source,) = phase.sources
        self._phase, self.corpus = phase, open_source(self._source, data_root)
        self.pairs = Pairs(phase, self._source, seed, scope, self.corpus.manifest)

    def row(self, number: int, patches: int) -> PairRow:
        """Row `number`, cut to `patches` patches (at least one image)."""
        items, cap = self.pairs.items(number, patches), self.pairs.cap(number)
        captions = [self.corpus.tokens[self.corpus.span(item)] for item in items]
        table = np.full((len(items), self.corpus.manifest.longest), self.corpus.roles.fill, dtype=np.int64)
        for place, caption in enumerate(captions):
            table[place, : len(caption)] = caption
        lengths = np.array([len(caption) for caption in captions], dtype=np.int64)
        images = tuple(capped_image(self.corpus, item, cap) for item in items)
        return PairRow(images, table, lengths, tuple((self._source.corpus, item) for item in items))

    def supply(self) -> Supply:
        """Items of the whole phase: those up to its last row, which may be cut."""
        last = ledger.samples(self._phase) - 1
        needed = sum(self.pairs.ordinals(last, self._phase.budget - last * self._phase.context))
        count = self.pairs.count
        return Supply(self._source, "pairs", needed, count * self._phase.epochs, count, 0)


def capped_image(corpus: Corpus, item: int, cap: int) -> Image:
    """The picture of a pair, shrunk to the cap by area averaging in integers, then normalised."""
    manifest = corpus.manifest
    raw = digits.shrink(corpus.raw_picture(corpus.first_picture(item)), cap, manifest.cell)
    return as_image(raw, manifest.channels)
