"""A named schedule as it is written, compared with the lineages that read it: what of it is never reached.

Everything here is on the paper's clock: a scale changes lengths in proportion and leaves out nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from stages.check.context import Context
from stages.check.findings import Finding
from stages.check.rules.schedule_cause import FACTORS, budgets_are_published, short_budgets, slip
from stages.errors import Where
from stages.spec import shapes, units
from stages.spec.clocks import Extent
from stages.spec.resolved_pipeline import ResolvedPipeline
from stages.spec.schedule_layout import Laid
from stages.spec.schema.pipeline import RawPiece


@dataclass(frozen=True)
class Declared:
    """Where a schedule ends as it is written: the rate, and the clock (None after a piece counted in steps)."""

    rate: Fraction
    clock: int | None


def unfinished(pipeline: ResolvedPipeline) -> dict[str, Extent]:
    """The last stage of every lineage that leaves its schedule before the schedule's end.

    A last piece that is constant may be cut: the rate is the same wherever it ends.
    """
    continued = {extent.after for extent in pipeline.extents.values()}
    points = {name for name, stage in pipeline.stages.items() if stage.trunk is not None}  # their trunk reads on
    last = {name: one for name, one in pipeline.extents.items() if name not in continued | points}
    return {name: one for name, one in last.items() if not complete(one)}


def complete(extent: Extent) -> bool:
    """Whether what is left of the schedule is nothing, or the rest of a constant piece."""
    last = extent.laid[-1]
    return not extent.left and (last.shape == "constant" or last.end == extent.end)


def unread_schedules(context: Context) -> Iterator[Finding]:
    """A finding (I-03) for each lineage that leaves its schedule before the schedule's end.

    A lineage that a variant shares with what it extends is reported there; one that is cut short by the variant alone
    (a stage dropped, a schedule replaced) is a finding about the variant.
    """
    known = unfinished(context.extended) if context.extended is not None else {}
    for name, extent in unfinished(context.pipeline).items():
        observed, expected = _words(context, name, extent)
        where, repair = _line(context, name, extent)
        clock = declared(extent).clock
        left = (Fraction(extent.end), Fraction(clock)) if clock is not None else None
        if name in context.pipeline.own:
            yield context.finding(
                "I-03", name, ("schedule",), observed=observed, expected=expected, repair=repair, found=left,
                where=where,
            )  # fmt: skip
        elif name not in known or _read(known[name]) != _read(extent):
            yield context.of_pipeline(
                "I-03", f"schedules.{extent.schedule}", observed=observed, expected=expected, repair=repair,
                where=place(context, extent.schedule, None), found=left,
            )  # fmt: skip


def _line(context: Context, name: str, extent: Extent) -> tuple[Where, str]:
    """The likelier of two places, the last budget or a piece of the schedule, and what to do, which names the other."""
    unread = len(extent.laid) - (extent.laid[-1].end > extent.end)  # the first piece that is not read to its end
    budget, piece = context.where(name, "phases", extent.own - 1, "budget"), place(context, extent.schedule, unread)
    end = declared(extent).clock
    meant = slip(extent, context.loaded.raw.schedules[extent.schedule], end)
    if meant is not None:
        number, written = meant
        return place(
            context, extent.schedule, number
        ), f"With `{written}` they end together; or correct a budget ({budget})."
    short = [(number, factor) for factor in FACTORS for number in short_budgets(extent, end, factor)]
    if len(short) == 1:
        number, factor = short[0]
        begin, stop = extent.spans[number].paper
        written = f"budget: {units.format_tokens((stop - begin) * factor)}"
        return _budgets(context, name)[number], f"With `{written}` they end together; or correct a piece ({piece})."
    lineage = "or the lineage: a stage left out of it, a clock that is reset."
    if budgets_are_published(context, name):
        return piece, f"Correct the pieces, as the budgets ({budget}) add up to what is published; {lineage}"
    return budget, f"Correct the budgets or the pieces ({piece}) so that they end together; {lineage}"


def _read(extent: Extent) -> tuple[object, ...]:
    return extent.laid, extent.left, extent.end


def _words(context: Context, name: str, extent: Extent) -> tuple[str, str]:
    """What was read, and what is written."""
    last, end = extent.laid[-1], declared(extent)
    unit = extent.spans[-1].phase.unit
    observed = (
        f"{_lineage(context, name)} ends at {extent.end:,} {unit} of schedule {extent.schedule!r}, "
        f"at a learning rate of {float(extent.value):g}"
    )
    if last.end > extent.end and last.shape != "constant":
        observed += f", inside {shapes.named(last.shape)} that ends at {last.end:,}"
    if extent.left:
        observed += f"; {len(extent.left)} piece{'s' * (len(extent.left) > 1)} after it never read"
    where = f"{end.clock:,} {unit}" if end.clock is not None else "the end of its last piece"
    return observed, f"the schedule's end, {where}, at a rate of {float(end.rate):g}"


def _lineage(context: Context, name: str) -> str:
    """The stages whose budgets the schedule's clock counts, with their budgets."""
    found = [(one, context.pipeline.extents[one]) for one in _readers(context, name)]
    return " -> ".join(f"{one} ({extent.end - extent.start:,})" for one, extent in found)


def _budgets(context: Context, name: str) -> list[Where]:
    """The lines of the budgets that the schedule's clock counts, in order."""
    readers = _readers(context, name)
    return [
        context.where(one, "phases", number, "budget")
        for one in readers
        for number in range(context.pipeline.extents[one].own)
    ]


def _readers(context: Context, name: str) -> list[str]:
    """The stages that read the schedule on one clock up to the end of this one."""
    found: list[str] = []
    at: str | None = name
    while at is not None:
        found.append(at)
        at = context.pipeline.extents[at].after
    return found[::-1]


def declared(extent: Extent) -> Declared:
    """The end of the schedule as it is written, beyond what the lineage reaches."""
    rate, clock = extent.laid[-1].last, extent.laid[-1].end
    known: int | None = clock
    for piece in extent.left:
        if piece.from_ is not None:
            rate = piece.from_
        if piece.shape != "constant" and piece.to is not None:
            rate = piece.to
        known = _after(piece, known)
    return Declared(rate, known)


def _after(piece: RawPiece, clock: int | None) -> int | None:
    if piece.until is not None:  # before the clock: the piece before it is too long, and is what to look at
        return piece.until if clock is None else max(piece.until, clock)
    if clock is None or piece.for_ is None or piece.for_[1] in ("steps", "epochs"):
        return None
    return clock + int(piece.for_[0])


def piece_of(context: Context, extent: Extent, number: int) -> tuple[RawPiece, Laid]:
    """A piece of the schedule that a stage reads: as it is written, and as it is laid along the lineage."""
    return context.loaded.raw.schedules[extent.schedule][number], extent.laid[number]


def place(context: Context, schedule: str, number: int | None, key: str | None = None) -> Where:
    """The line of a piece of a schedule or of one of its keys, or of the schedule itself."""
    path = ("schedules", schedule, *(part for part in (number, key) if part is not None))
    return context.loaded.document.where(path)
