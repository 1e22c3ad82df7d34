"""A record of what a phase reads, row by row, with a recount of targets from the prepared corpora.

It is between the loader and the objective and changes nothing. The recount opens the prepared files itself and
goes by the spans that the rows name; it does not look at their labels.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stages.data.corpus.prepared import Corpus
from stages.data.loading.sample import PairRow, Sample
from stages.data.tokens.preference import BEGINS
from stages.guards.report import PhaseReads
from stages.spec.resolved_phases import Phase


class Rows(Protocol):
    """What a phase's data offers an objective."""

    def samples(self, first: int, count: int, tail: int) -> list[Sample]:
        """Rows [first, first + count) of tokens."""

    def pairs(self, first: int, count: int, tail: int) -> list[PairRow]:
        """Rows [first, first + count) of pairs."""


@dataclass
class _Tally:
    """What was read: intervals by corpus, the source of each row, and counts; `last` is the last row of tokens."""

    read: dict[str, list[NDArray[np.int64]]] = field(default_factory=dict)
    picked: list[int] = field(default_factory=list)
    supervised: int = 0
    bos: int = 0
    begun: int = 0
    outside: int = 0
    foreign: int = 0
    last: Sample | None = None

    def add(self, corpus: str, intervals: NDArray[np.int64]) -> None:
        """Count intervals [n, 2] of a corpus."""
        self.read.setdefault(corpus, []).append(intervals)

    def absorb(self, other: _Tally) -> None:
        """Count what another tally has, after all that this one has."""
        for corpus, parts in other.read.items():
            self.read.setdefault(corpus, []).extend(parts)
        self.picked += other.picked
        self.supervised += other.supervised
        self.bos += other.bos
        self.begun += other.begun
        self.outside += other.outside
        self.foreign += other.foreign
        self.last = other.last or self.last


class PhaseLog:
    """Wraps the data of a phase. Rows may be read ahead, on another thread: they count once `taken` says so."""

    def __init__(self, phase: Phase, data: Rows, data_root: Path) -> None:
        self.phase = phase
        self._ends_masked = phase.preference is not None and phase.preference.turn_ends == "masked"
        self._data, self._corpora = data, {s.corpus: Corpus(data_root / s.corpus) for s in phase.sources}
        self._total = _Tally()
        self._ahead: deque[_Tally] = deque()  # one for each reading that is not taken yet

    def samples(self, first: int, count: int, tail: int) -> list[Sample]:
        """The loader's rows, recorded."""
        rows, tally = self._data.samples(first, count, tail), _Tally()
        for row in rows:
            self._record(row, tally)
        tally.last = rows[-1] if rows else None
        self._ahead.append(tally)
        return rows

    def pairs(self, first: int, count: int, tail: int) -> list[PairRow]:
        """The loader's rows of pairs, recorded: units are items."""
        rows, tally = self._data.pairs(first, count, tail), _Tally()
        for row in rows:
            (name,) = {corpus for corpus, _ in row.items}
            items = np.array([item for _, item in row.items], dtype=np.int64)
            offsets = self._corpora[name].offsets
            tally.add(name, np.stack((items, items + 1), axis=1))
            tally.supervised += int((offsets[items + 1] - offsets[items] - 1).sum())
            tally.outside += int(np.count_nonzero(self._sources(name, items) < 0))
            tally.bos += _bos(row.captions, self._corpora[name])
            tally.begun += _begun(self._corpora[name], offsets[items])
            tally.picked.append(0)
        self._ahead.append(tally)
        return rows

    def taken(self) -> None:
        """Count the rows of the earliest reading that does not count yet: a step was trained on them."""
        self._total.absorb(self._ahead.popleft())

    @property
    def last(self) -> Sample | None:
        """The last row of tokens that counts."""
        return self._total.last

    def report(self) -> PhaseReads:
        """Everything that counts. The rows' own intervals are given up for the stretches that they make together: a
        long phase would have an array for each of millions of rows, and go through all of them at every checkpoint.
        """
        total = self._total
        segments = {corpus: counted(parts) for corpus, parts in sorted(total.read.items())}
        total.read = {corpus: [_intervals(found)] for corpus, found in segments.items()}
        return PhaseReads(
            segments=segments,
            picked=tuple(total.picked),
            supervised_expected=total.supervised,
            bos=total.bos,
            begun=total.begun,
            outside=total.outside,
            foreign=total.foreign,
        )

    def restore(self, kept: PhaseReads) -> None:
        """Go on from the report that a checkpoint contains."""
        self._total = _Tally(
            {}, list(kept.picked), kept.supervised_expected, kept.bos, kept.begun, kept.outside, kept.foreign
        )
        for corpus, segments in kept.segments.items():
            self._total.add(corpus, _intervals(segments))

    def _record(self, row: Sample, tally: _Tally) -> None:
        if not row.spans:  # padding alone: nothing was picked, nothing is counted
            return
        wanted, allowed, picked = [], [], []
        for name, spans in groupby(row.spans, key=itemgetter(0)):
            places = np.array([span[1:] for span in spans], dtype=np.int64)
            tokens, targets, source = self._stretch(name, places, tally)
            wanted.append(tokens)
            allowed.append(targets)
            picked.append(source)
        tally.picked.append(picked[0])
        tally.bos += _bos(row.tokens, self._corpora[row.spans[0][0]])
        _compare(row, np.concatenate(wanted), np.concatenate(allowed), tally)

    def _stretch(
        self, name: str, spans: NDArray[np.int64], tally: _Tally
    ) -> tuple[NDArray[Any], NDArray[np.bool_], int]:
        """Tokens [n] of the corpus at spans [k, 3] of one corpus, which of them predict a target, and the source."""
        corpus = self._corpora[name]
        documents, starts, ends = spans.T
        begins, after = corpus.offsets[documents], corpus.offsets[documents + 1]
        lengths = ends - starts
        tally.add(name, np.stack((begins + starts, begins + ends), axis=1))
        sources = self._sources(name, begins)
        tally.outside += int(np.count_nonzero(sources < 0))
        tally.begun += _begun(corpus, begins[starts == 0])
        places = np.repeat(begins + starts - np.cumsum(lengths) + lengths, lengths) + np.arange(int(lengths.sum()))
        if self.phase.preference is not None and corpus.supervised is not None:  # two conversations in each document
            tally.begun += _begun(corpus, places[np.asarray(corpus.supervised[places]) == BEGINS])
        following = places + 1
        inside = following < np.repeat(after, lengths)
        targets = inside & self._targets(corpus, np.where(inside, following, places))
        return np.asarray(corpus.tokens[places]), targets, int(sources[0])

    def _targets(self, corpus: Corpus, places: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of these tokens are learned: in SFT those of the mask, else all that are not a picture's."""
        if self.phase.answers_alone and corpus.supervised is not None:
            answers = np.asarray(corpus.supervised[places]) == 1
            return answers & ~np.isin(corpus.tokens[places], corpus.roles.ends) if self._ends_masked else answers
        return np.asarray(corpus.tokens[places]) != corpus.roles.image

    def _sources(self, corpus: str, offsets: NDArray[np.int64]) -> NDArray[np.int64]:
        """The phase's source in which each document (item) begins, -1 for none."""
        found = np.full(len(offsets), -1, dtype=np.int64)
        for number, source in enumerate(self.phase.sources):
            if source.corpus == corpus:
                found[(offsets >= source.start) & (offsets < source.end)] = number
        return found


def _bos(tokens: NDArray[np.int64], corpus: Corpus) -> int:
    """BOS among these tokens; none where the tokenizer has none."""
    return 0 if corpus.roles.bos is None else int(np.count_nonzero(tokens == corpus.roles.bos))


def _begun(corpus: Corpus, begins: NDArray[np.int64]) -> int:
    """How many of the documents that begin at these tokens begin with BOS: all of plain text, if there is one."""
    return _bos(np.asarray(corpus.tokens[begins]), corpus)


def _compare(sample: Sample, wanted: NDArray[Any], allowed: NDArray[np.bool_], tally: _Tally) -> None:
    found = sample.tokens
    row, wanted_here = found[: len(wanted)], wanted[: len(found)]
    # A picture cut at the end of a budget is padding, and nothing from the token before it on is learned.
    torn = (row == sample.fill) & (wanted_here == sample.image)
    tally.foreign += int(np.count_nonzero((row != wanted_here) & ~torn)) + len(wanted) - len(row)
    kept = max(0, int(np.argmax(torn)) - 1) if torn.any() else len(allowed)
    tally.supervised += int(np.count_nonzero(allowed[:kept]))


def counted(parts: Sequence[NDArray[np.int64]]) -> tuple[tuple[int, int, int], ...]:
    """(from, to, how often) of the stretches that these intervals cover, sorted; neighbours alike are one."""
    edges = np.concatenate(parts)
    places = np.unique(edges)
    change = np.bincount(np.searchsorted(places, edges[:, 0]), minlength=len(places))
    change = np.cumsum(change - np.bincount(np.searchsorted(places, edges[:, 1]), minlength=len(places)))
    starts = np.flatnonzero(np.diff(change, prepend=0))
    found = np.stack((places[starts[:-1]], places[starts[1:]], change[starts[:-1]]), axis=1)
    return tuple((start, end, times) for start, end, times in found[found[:, 2] > 0].tolist())


def _intervals(segments: Sequence[tuple[int, int, int]]) -> NDArray[np.int64]:
    """Intervals [n, 2] of which `counted` makes these stretches."""
    found = np.array(segments, dtype=np.int64).reshape(-1, 3)
    return np.repeat(found[:, :2], found[:, 2], axis=0)
