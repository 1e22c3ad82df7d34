"""What each piece of a schedule does, as it is written: I-36."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from stages.check import facts
from stages.check.context import Context
from stages.check.facts import Fact
from stages.check.findings import Finding
from stages.check.registry import static
from stages.check.rules import horizon, numbers, peaks
from stages.errors import Where
from stages.spec import shapes
from stages.spec.clocks import Extent
from stages.spec.schema.phases import CountedPhase

# An update of AdamW, and of Muon at AdamW's size, moves a weight by about the learning rate. Weights are of the order
# of 0.02: at a rate above HIGHEST one step replaces them, below LOWEST single precision rounds the update away.
HIGHEST = peaks.HIGHEST
LOWEST = Fraction(1, 10**9)

Fault = tuple[Where | str, Fact, str, str, str]  # a line, or the piece's key at fault; fact, found, expected, repair


@static(
    "I-36",
    title="Every piece of a schedule does something",
    rule="At least one optimizer step ends in every piece. A piece that is not constant changes the rate (a warm-up "
    "from the current rate may find it reached already), and a cosine or 1-sqrt that ends its schedule lowers "
    "it. No rate is above 0.1, none above twice all that the largest module was trained at since it was new, or "
    "five times what is known of it, none for preferences above twice that of the stage before, and no piece "
    "lies below 1e-9. A warm-up is at most half of its schedule. A schedule that gives a learning rate gives no "
    "other number.",
    why="A warm-up of 2,000 tokens where 2,000 steps were meant, a rate without the minus of its exponent, a decay "
    "from a rate to itself: the run starts, and nothing says what it has lost.",
    threads=("kakaobrain/rq-vae-transformer#18",),
)
def every_piece_does_something(context: Context) -> Iterator[Finding]:
    """I-36. A finding is about the stage in which the piece begins: it stops that one and what comes after it."""
    yield from numbers.inert(context)
    yield from numbers.borrowed(context)
    pipeline = context.pipeline
    for name, _ in context.own:
        extent = pipeline.extents.get(name)
        lines: set[Where] = set()
        for number in range(len(extent.laid)) if extent is not None else ():
            if extent is None or extent.laid[number].start < extent.start:
                continue
            for where, fact, observed, expected, repair in _faults(context, name, extent, number):
                line = horizon.place(context, extent.schedule, number, where) if isinstance(where, str) else where
                if isinstance(where, str) or where not in lines:  # a scale's factor is at fault once, not once a piece
                    yield Finding(
                        "I-36", pipeline.scale, pipeline.refs[name], None, observed, expected, repair, line,
                        at=(f"schedule.{number}",), found=facts.write(fact),
                    )  # fmt: skip
                lines.add(line)


def _faults(context: Context, name: str, extent: Extent, number: int) -> Iterator[Fault]:
    if not _counted_elsewhere(context, extent):
        yield from _without_a_step(context, extent, number)
    yield from _inert(context, extent, number)
    yield from _implausible(context, extent, number)
    yield from peaks.faults(context, name, extent, number)


def _counted_elsewhere(context: Context, extent: Extent) -> bool:
    """Whether a budget was counted in epochs of local corpora, and this is not the scale that trains on their size.

    A small corpus may be less than one step at full size: only where it is read do its steps count (I-35 at a scale).
    """
    tokenizers = {stage.tokenizer for stage in context.pipeline.stages.values()}
    here = context.shrink.shrink is None and tokenizers == {context.data.local}
    return not here and any(isinstance(span.phase, CountedPhase) for span in extent.spans)


def _without_a_step(context: Context, extent: Extent, number: int) -> Iterator[Fault]:
    """A piece that the lineage passes over between the ends of two steps, at full size."""
    (raw, piece), unit = horizon.piece_of(context, extent, number), extent.spans[-1].phase.unit
    end = numbers.step_beyond(extent, number)
    if end is not None:
        yield (
            "until" if raw.for_ is None else "for",
            Fraction(end - piece.start, piece.end - piece.start),
            f"{shapes.named(piece.shape)} of {piece.end - piece.start:,} {unit} in which no step ends: the piece ends "
            f"at {piece.end:,}, the step at {end:,}",
            "at least one step in every piece",
            "Lengthen the piece; a length in optimizer steps is written `for: 2000 steps`.",
        )


def _inert(context: Context, extent: Extent, number: int) -> Iterator[Fault]:
    """Of the lineage that reads the piece: `from: current` may differ between those that read the schedule."""
    pieces, piece = context.loaded.raw.schedules[extent.schedule], extent.laid[number]
    if piece.shape == "constant":
        return
    found = piece.described
    warms_up = piece.shape == "linear" and not number and pieces[0].starts == "current" and len(pieces) > 1
    if piece.first == piece.last and not warms_up:
        yield (
            "to",
            found,
            found,
            "a piece that changes the rate",
            "Correct `to`, or write `shape: constant` without it."
            if pieces[0].starts != "current"
            else "Correct `to`, or `init.from`: the rate at which the parent ended is where the schedule begins.",
        )
    ends = number + 1 == len(extent.laid) and not extent.left
    if ends and piece.shape in ("cosine", "1-sqrt") and piece.first < piece.last:
        yield "to", found, f"{found}, which ends the schedule", f"a {piece.shape} that lowers the rate", "Correct `to`."


def _implausible(context: Context, extent: Extent, number: int) -> Iterator[Fault]:
    """A rate out of proportion, as it is written or by the scale's factor; what a piece takes over is not its fault."""
    raw, piece = horizon.piece_of(context, extent, number)
    stated = [*([piece.first] if raw.starts == "stated" else ()), *([piece.last] if raw.to is not None else ())]
    highest = max(stated, default=Fraction(0))
    key = "to" if raw.to is not None and piece.last == highest else "from"
    bound = f"at most {float(HIGHEST):g}: a step moves every weight by about the rate"
    if highest > HIGHEST:
        yield key, highest, f"a learning rate of {float(highest):g}", bound, "Correct the rate's exponent."
    elif context.shrink.rate(highest) > float(HIGHEST):
        yield (
            context.shrink.document.where(("pipelines", context.shrink.pipeline, "lr")),
            Fraction(context.shrink.rate(highest)),
            f"a learning rate of {context.shrink.rate(highest):g}, {float(highest):g} as it is written",
            bound,
            "Correct the scale's `lr`, or the rate as it is written.",
        )
    if 0 < max(piece.first, piece.last) < LOWEST:
        found = piece.described
        yield (
            key,
            found,
            found,
            f"rates of at least {float(LOWEST):g}: smaller updates are rounded away",
            "Correct the rate's exponent.",
        )
