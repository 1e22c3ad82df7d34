"""How long a stretch of a corpus has to be so that a phase can be read from it to its end."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import ceil, isqrt
from typing import Literal, assert_never

from stages.spec.resolved_phases import Phase
from stages.spec.schema.corpora import RawCorpus

SLACK = 2  # samples by which cumulative-count rounding may pass a source's share
CHANCE = 64  # another order of the same documents fills fewer rows by up to one in so many (1 in 200 was seen)


@dataclass(frozen=True)
class Fit:
    """What of a corpus fits into rows of one context, packed whole in the corpus's order: rows, and tokens in them."""

    rows: int
    tokens: int


@dataclass(frozen=True)
class Need:
    """What a phase needs of one corpus: `share` is the corpus's within its group, `groups` how many the mixture has.

    `patch` is the side of an image patch, for phases in patches.
    """

    phase: Phase
    group: Literal["text", "multimodal"]
    share: Fraction
    groups: int
    patch: int | None

    @cached_property
    def drawn(self) -> Fraction:
        """Samples of the whole phase that come from the corpus, at most."""
        phase = self.phase
        samples = -(-phase.budget // phase.context)
        share = self.share
        if phase.share is not None and self.groups > 1:
            multimodal = phase.share.mean(samples)
            match self.group:
                case "multimodal":
                    share *= multimodal
                case "text":
                    share *= 1 - multimodal
                case _:
                    assert_never(self.group)
        parts = share.denominator  # of a sample
        return Fraction(min(samples * share.numerator + SLACK * parts, samples * parts), parts)

    @cached_property
    def units(self) -> int:
        """Units of the corpus in one epoch, were every sample full: tokens, or items for phases in patches."""
        phase, drawn = self.phase, self.drawn
        if phase.coca is not None and self.patch is not None:
            return ceil(drawn * self._items / phase.epochs) + 1
        return -(-drawn.numerator * phase.context // (drawn.denominator * phase.epochs)) + 1

    @property
    def rows(self) -> int:
        """Rows in one epoch."""
        return ceil(self.drawn / self.phase.epochs)

    def plain(self, figures: RawCorpus) -> int:
        """`units` and the longest document, because documents are read whole: those that begin in a stretch are its."""
        return self.units + (figures.longest if figures.unit == "tokens" else 0)

    @property
    def _items(self) -> Fraction:
        """Mean images per packed row, were all of them as large as the resolution cap of the moment lets them be."""
        assert self.phase.coca is not None
        assert self.patch is not None
        steps = self.phase.coca.resolutions
        ends = [*(step.after for step in steps[1:]), self.phase.budget]
        rows = Fraction(0)
        for step, end in zip(steps, ends, strict=True):
            patches = max(1, step.cap // self.patch) ** 2
            rows += Fraction(end - step.after, self.phase.budget) * max(1, self.phase.context // patches)
        return rows


def stretch(need: Need, figures: RawCorpus, start: int) -> int | None:
    """The length of a stretch from `start` on that is enough, in the corpus's unit; None where too little is left.

    Windows of concatenated documents need their tokens. So do whole documents that all fit into a row: padding only
    adds rows. Where some documents do not fit, or where the tokens would not suffice, the rows that the corpus was
    measured to fill are what counts. Rows are spread over a shuffled corpus evenly except for chance, for which the
    square root of their number is added.
    """
    phase, left, plain = need.phase, figures.size - start, need.plain(figures)
    known = packed(figures, phase.context) if phase.whole(figures.kind) else None
    if plain <= left and (known is None or figures.longest <= phase.context):
        return plain
    if known is None or not known.rows:
        return None
    rows = need.rows
    by_rows = ceil(Fraction((rows + isqrt(rows) + SLACK) * figures.size, known.rows))
    if by_rows <= left:
        return max(by_rows, plain) if plain <= left else by_rows
    return left if start == 0 and rows <= _whole_corpus(known, phase.context) else None


def _whole_corpus(known: Fit, context: int) -> int:
    """Rows that all documents fill in any order: no row has more than the context, and few orders pack much worse."""
    return max(known.tokens // context, known.rows - known.rows // CHANCE - SLACK)


def packed(figures: RawCorpus, context: int) -> Fit | None:
    """What of a corpus fits into rows of a context, as measured; None where that was not declared.

    Between two measured contexts, what fits into the shorter one fits too, and fills at least its tokens' rows. Of
    powers of two, those that no document fits into are not declared: below the least, nothing fits.
    """
    if context in figures.packed:
        measured = figures.packed[context]
        return Fit(measured.rows, measured.tokens)
    shorter = max((one for one in figures.packed if one < context), default=None)
    if shorter is None:
        least = min(figures.packed, default=0)
        return Fit(0, 0) if 2 * context <= least and 2 * least in figures.packed else None
    tokens = figures.packed[shorter].tokens
    return Fit(max(1, tokens // context), tokens)


def rows_in(figures: RawCorpus, known: Fit, length: int) -> Fraction:
    """Rows that a stretch of the corpus fills, its documents being spread evenly."""
    return Fraction(length * known.rows, figures.size) if figures.size else Fraction(0)
