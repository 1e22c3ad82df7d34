"""Which line is at fault where a schedule and the budgets that read it do not end together (I-03)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from stages.check.context import Context
from stages.spec import units
from stages.spec.clocks import Extent
from stages.spec.schema.pipeline import RawPiece

Length = tuple[Literal["for", "until"], int]
FACTORS = (10, 1000)  # a zero too many; K for nothing, M for K, B for M, T for B


def slip(extent: Extent, pieces: Sequence[RawPiece], written: int | None) -> tuple[int, str] | None:
    """The one piece whose usual slip explains the difference, and what was meant; None where there is not just one.

    Usual are `for` where `until` was meant, and a length that is ten or a thousand times too long, unless a budget that
    is too short by the same factor explains it as well. `written` is where the schedule ends as it stands.
    """
    lengths = _lengths(extent, pieces)
    if lengths is None:
        return None
    found = []
    for number, meant, factor in _candidates(lengths, pieces):
        ends = _end([*lengths[:number], meant, *lengths[number + 1 :]]) == extent.end
        if ends and not (factor > 1 and short_budgets(extent, written, factor)):
            found.append((number, f"{meant[0]}: {units.format_tokens(meant[1])}"))
    return found[0] if len(found) == 1 else None


def short_budgets(extent: Extent, written: int | None, factor: int) -> list[int]:
    """The phases of the lineage, by number, that would make up the difference if they were so many times as long."""
    lengths = [span.paper[1] - span.paper[0] for span in extent.spans]
    return [number for number, length in enumerate(lengths) if extent.end + (factor - 1) * length == written]


def _lengths(extent: Extent, pieces: Sequence[RawPiece]) -> list[Length] | None:
    """Every piece in tokens (or patches); None where one that the lineage does not reach counts in steps or epochs."""
    found: list[Length] = []
    for number, piece in enumerate(pieces):
        if piece.until is not None:
            found.append(("until", piece.until))
        elif piece.for_ is not None and _in_tokens(piece):
            found.append(("for", int(piece.for_[0])))
        elif number < len(extent.laid):
            found.append(("for", extent.laid[number].end - extent.laid[number].start))
        else:
            return None
    return found


def _in_tokens(piece: RawPiece) -> bool:
    return piece.for_ is not None and piece.for_[1] == "tokens"


def _candidates(lengths: Sequence[Length], pieces: Sequence[RawPiece]) -> Iterator[tuple[int, Length, int]]:
    for number, (word, amount) in enumerate(lengths):
        if pieces[number].until is None and not _in_tokens(pieces[number]):
            continue
        if word == "for":
            yield number, ("until", amount), 1
        for factor in FACTORS:
            if amount % factor == 0:
                yield number, (word, amount // factor), factor


def _end(lengths: Sequence[Length]) -> int | None:
    """Where a schedule of these pieces ends; None where one ends before it begins."""
    clock = 0
    for word, amount in lengths:
        if word == "until" and amount <= clock:
            return None
        clock = amount if word == "until" else clock + amount
    return clock


def budgets_are_published(context: Context, name: str) -> bool:
    """Whether published totals count the stage, and are right: then it is the schedule that does not fit."""
    pipeline = context.full or context.pipeline
    if context.full is None and context.shrink.shrink is not None:
        return False
    totals = [
        abs(sum(phase.budget for one in claim.stages for phase in pipeline.stages[one].phases) - claim.tokens)
        <= claim.rounding
        for claim in pipeline.claims
        if name in claim.stages
    ]
    return bool(totals) and all(totals)
