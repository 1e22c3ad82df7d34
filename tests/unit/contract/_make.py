"""Resolved values for the contract's tests, with everything that does not matter filled in."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from stages.spec.resolved_phases import BatchStep, Phase, ShareRamp, Source
from stages.spec.resolved_training import Piece, Shape

Group = Literal["text", "multimodal"]


def phase(
    budget: int = 100,
    context: int = 8,
    batch: tuple[tuple[int, int], ...] = ((0, 2),),
    sources: tuple[Source, ...] = (),
    share: ShareRamp | None = None,
) -> Phase:
    return Phase(
        name="main",
        objective="next_token",
        unit="tokens",
        budget=budget,
        clock_start=0,
        context=context,
        batch=tuple(BatchStep(after=after, sequences=sequences) for after, sequences in batch),
        micro_batch=1,
        epochs=1,
        document_mask=True,
        packing="concatenate",
        sources=sources,
        share=share,
        loops=None,
        router=None,
        coca=None,
    )


def source(weight: int, group: Group = "text", corpus: str = "prose") -> Source:
    return Source(corpus=corpus, group=group, weight=weight, start=0, end=10**9, digest="0" * 64)


def piece(
    start: int,
    end: int,
    shape: Shape,
    first: float,
    last: float,
    p0: Fraction = Fraction(0),
    p1: Fraction = Fraction(1),
    exponent: float | None = None,
) -> Piece:
    return Piece(
        start=start, end=end, shape=shape, first=first, last=last,
        p0=(p0.numerator, p0.denominator), p1=(p1.numerator, p1.denominator), exponent=exponent,
    )  # fmt: skip
