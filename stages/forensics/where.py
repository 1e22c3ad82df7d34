"""Which steps read a document: by inverting the order of every phase that has its corpus. No index, no log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.contract import ledger
from stages.data.loading.readers import open_source
from stages.data.loading.trace import PairTrace, Trace
from stages.errors import UserError
from stages.forensics.batch import trace
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Phase


@dataclass(frozen=True)
class Read:
    """One row that reads some of a document: tokens [start, end) of it, or a whole pair ([0, 1)).

    `step` counts over the stage and `row` within the step, both from 1; `epoch` from 1.
    """

    stage: str
    phase: str
    step: int
    row: int
    epoch: int
    start: int
    end: int


@dataclass(frozen=True)
class Unread:
    """A phase that has the document's corpus and does not read the document, and why."""

    stage: str
    phase: str
    why: str


def where(stages: Sequence[Stage], corpus: str, document: int, data_root: Path) -> Iterator[Read | Unread]:
    """Where stages read a document (its number from 0), phase by phase, in the order of steps.

    Raises UserError naming every corpus that has to be opened and is not prepared, or is not the declared one.
    """
    _refuse_unusable([phase for stage in stages for phase in stage.phases if _has(phase, corpus)], corpus, data_root)
    for stage in stages:
        yield from _of_stage(stage, corpus, document, data_root)


def _of_stage(stage: Stage, corpus: str, document: int, data_root: Path) -> Iterator[Read | Unread]:
    ref, before = stage.ref, 0
    for phase in stage.phases:
        if _has(phase, corpus):
            only = None if phase.answers_alone else {corpus}
            traced = trace(phase, stage.seed, data_root, only)
            found = sorted(_reads(ref, phase, traced, corpus, document, before), key=lambda one: (one.step, one.row))
            yield from found
            if not found:
                yield Unread(ref, phase.name, _why(phase, traced, corpus, document))
        before += ledger.count(phase)


def _has(phase: Phase, corpus: str) -> bool:
    return any(source.corpus == corpus for source in phase.sources)


def _refuse_unusable(phases: Sequence[Phase], corpus: str, data_root: Path) -> None:
    """The cut row at the end of conversations may come from any of their corpora."""
    found: dict[str, None] = {}
    for source in (one for phase in phases for one in phase.sources if phase.answers_alone or one.corpus == corpus):
        try:
            open_source(source, data_root)
        except UserError as error:
            found[str(error)] = None
    if found:
        raise UserError("\n".join(found))


def _reads(
    ref: str, phase: Phase, traced: Trace | PairTrace, corpus: str, document: int, before: int
) -> Iterator[Read]:
    last = ledger.samples(phase) - 1
    for sample in {*traced.holding(corpus, document), last}:  # the last row may be cut, or be another one instead
        step = ledger.step_at(phase, sample * phase.context)
        number = sample - step.first_sample
        row = traced.row(sample, step.tail if number == step.sequences - 1 else 0)
        for of, read, start, end in row.spans or ():
            if (of, read) == (corpus, document) and start < end:
                yield Read(ref, phase.name, before + step.index + 1, number + 1, (row.epoch or 0) + 1, start, end)


def _why(phase: Phase, traced: Trace | PairTrace, corpus: str, document: int) -> str:
    inside = [one for one in traced.orders(corpus) if one.first <= document < one.last]
    if not inside:
        stretches = ", ".join(f"[{one.start:,}, {one.end:,})" for one in phase.sources if one.corpus == corpus)
        return f"it begins outside of what the phase may read, {stretches}"
    if any(True for one in inside for _ in one.holding(document)):
        return "the budget ends before it"
    if phase.packing == "concatenate":
        return "it is in the rest that fills no window"
    return f"it is longer than the context of {phase.context:,}, and left out"
