"""The ledger: how a phase's budget is cut into steps, sequences and positions, to the last unit.

Units are the ledger's (LLM tokens, or image patches); a sequence has `phase.context` of them. A batch ramp
switches at the first step border at or past its threshold; the last step takes what is left, its last sequence cut
to `tail` positions, so that budgets are met exactly. Epochs change which documents are read, never the budget.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stages.spec.resolved_phases import Phase


@dataclass(frozen=True)
class Step:
    """One optimizer step: ledger units [start, end) of its phase, samples [first_sample, first_sample + sequences).

    The last sample has only `tail` positions if tail > 0, else all of them.
    """

    index: int
    start: int
    end: int
    first_sample: int
    sequences: int
    tail: int


@dataclass(frozen=True)
class Stretch:
    """`steps` full steps of `sequences` sequences each, from ledger unit `start` of the phase on."""

    first_step: int
    steps: int
    start: int
    first_sample: int
    sequences: int


def stretches(phase: Phase) -> tuple[tuple[Stretch, ...], Step | None]:
    """The phase in closed form: a stretch of full steps per batch size, and the partial step at the end, if any."""
    found: list[Stretch] = []
    index = at = sample = 0
    for number, rung in enumerate(phase.batch):
        size = rung.sequences * phase.context
        final = number + 1 == len(phase.batch)
        full = (phase.budget - at) // size
        if not final:
            threshold = phase.batch[number + 1].after
            full = min(full, max(0, -(-(threshold - at) // size)))
        if full:
            found.append(Stretch(index, full, at, sample, rung.sequences))
            index, at, sample = index + full, at + full * size, sample + full * rung.sequences
        left = phase.budget - at
        # A partial step belongs to this rung only if the next rung's threshold is not reached before it.
        if 0 < left < size and (final or at < phase.batch[number + 1].after):
            return tuple(found), Step(index, at, phase.budget, sample, -(-left // phase.context), left % phase.context)
    return tuple(found), None


def count(phase: Phase) -> int:
    """Number of steps of the phase, the partial last one included."""
    full, partial = stretches(phase)
    return sum(stretch.steps for stretch in full) + (partial is not None)


def steps(phase: Phase) -> Iterator[Step]:
    """All steps of the phase, in order."""
    full, partial = stretches(phase)
    for stretch in full:
        for offset in range(stretch.steps):
            yield _full_step(phase, stretch, offset)
    if partial is not None:
        yield partial


def step_at(phase: Phase, consumed: int) -> Step:
    """The step that consumes ledger unit `consumed` of the phase: start <= consumed < end.

    After a restart at a step border, this is the step to run next. Raises ValueError outside [0, budget).
    """
    if not 0 <= consumed < phase.budget:
        raise ValueError(f"phase {phase.name!r} has no step at {consumed}; its budget is {phase.budget}")
    full, partial = stretches(phase)
    for stretch in full:
        offset = (consumed - stretch.start) // (stretch.sequences * phase.context)
        if offset < stretch.steps:
            return _full_step(phase, stretch, offset)
    if partial is None:
        raise AssertionError("full steps end before the budget, yet there is no partial step")
    return partial


def step_number(phase: Phase, index: int) -> Step:
    """The step with this index in the phase, from 0. Raises ValueError outside [0, count)."""
    full, partial = stretches(phase)
    for stretch in full:
        if 0 <= index - stretch.first_step < stretch.steps:
            return _full_step(phase, stretch, index - stretch.first_step)
    if partial is not None and index == partial.index:
        return partial
    raise ValueError(f"phase {phase.name!r} has no step {index}; it has {count(phase)}")


def step_of(phases: Sequence[Phase], number: int) -> tuple[int, Step]:
    """(number of the phase, step) of a stage's step, counted over all phases from 1, as metrics.csv does.

    Raises ValueError where the stage has no such step.
    """
    left = number - 1
    for place, phase in enumerate(phases):
        if 0 <= left < count(phase):
            return place, step_number(phase, left)
        left -= count(phase)
    raise ValueError(f"no step {number}; there are {sum(map(count, phases))}")


def samples(phase: Phase) -> int:
    """Sequences that the phase reads in all, the cut one included."""
    return -(-phase.budget // phase.context)


def _full_step(phase: Phase, stretch: Stretch, offset: int) -> Step:
    size = stretch.sequences * phase.context
    start = stretch.start + offset * size
    return Step(
        index=stretch.first_step + offset,
        start=start,
        end=start + size,
        first_sample=stretch.first_sample + offset * stretch.sequences,
        sequences=stretch.sequences,
        tail=0,
    )
