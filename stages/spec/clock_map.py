"""The map of a laid schedule from the paper's clock to a scale's clock.

LR_here(t) = lr * LR_paper(phi(t)), where phi is piecewise linear: phase borders go to phase borders, and inside a phase
the pieces get stretches in proportion to the paper's, but not less than a declared minimum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from stages.spec.scales import Scale
from stages.spec.schedule_layout import Laid, ScheduleError, Span


@dataclass(frozen=True)
class Cut:
    """A stretch of a laid piece on the scale's clock: from progress p0 to p1 of the piece."""

    start: int
    end: int
    piece: Laid
    p0: Fraction
    p1: Fraction
    begins: bool  # whether the piece begins here


def cut(laid: Sequence[Laid], spans: Sequence[Span], scale: Scale) -> list[Cut]:
    """The pieces on the scale's clock, cut at the borders of phases. Raises ScheduleError."""
    cuts: list[Cut] = []
    for span in spans:
        clock = span.here[0]
        for piece, (a, b), width in _widths(laid, span, scale):
            p0, p1 = (Fraction(edge - piece.start, piece.end - piece.start) for edge in (a, b))
            if piece.shape == "constant":  # its progress has no meaning, and must not tell a stage what comes after it
                p0, p1 = Fraction(0), Fraction(1)
            cuts.append(Cut(clock, clock + width, piece, p0, p1, a == piece.start))
            clock += width
    return cuts


def place(laid: Sequence[Laid], span: Span, scale: Scale, paper: int) -> int:
    """The scale's clock at a point of the paper's inside a phase: as far in the same piece, rounded to a unit."""
    clock = span.here[0]
    for _, (a, b), width in _widths(laid, span, scale):
        if paper <= b:
            return clock + round(Fraction(width * (paper - a), b - a))
        clock += width
    return clock


def _widths(laid: Sequence[Laid], span: Span, scale: Scale) -> list[tuple[Laid, tuple[int, int], int]]:
    """The pieces inside a phase, the part of each on the paper's clock, and its length on the scale's."""
    inside = [piece for piece in laid if piece.start < span.paper[1] and piece.end > span.paper[0]]
    edges = [(max(piece.start, span.paper[0]), min(piece.end, span.paper[1])) for piece in inside]
    widths = stretch([b - a for a, b in edges], span.here[1] - span.here[0], scale.least_piece(span.phase))
    return list(zip(inside, edges, widths, strict=True))


def stretch(widths: Sequence[int], total: int, least: int) -> list[int]:
    """Integers in proportion to `widths` that sum to `total`, each at least `least`; ScheduleError if they cannot."""
    least = max(least, 1)
    if least * len(widths) > total:
        raise ScheduleError(
            None, f"{len(widths)} pieces of at least {least:,} in a phase of {total:,}",
            "phases that contain their pieces",
            "Lower the scale's `min_piece`, or raise its budgets.", invariant="I-35",
        )  # fmt: skip
    small: set[int] = set()
    while True:  # pieces that would be too short get the minimum; the others share the rest
        rest = total - least * len(small)
        whole = sum(width for index, width in enumerate(widths) if index not in small)
        more = {i for i, width in enumerate(widths) if i not in small and width * rest < least * whole}
        if not more:
            break
        small |= more
    result, done, given = [], 0, 0
    for index, width in enumerate(widths):
        if index in small:
            result.append(least)
            continue
        done += width
        result.append(done * rest // whole - given)
        given += result[-1]
    return result
