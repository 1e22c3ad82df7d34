"""What one step of a stage reads: from its spec and the prepared corpora alone, whether it has been run or not."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from stages.contract import ledger
from stages.contract.ledger import Step
from stages.contract.schedule import lr
from stages.data.loading.pairs import Pairs
from stages.data.loading.readers import open_source, scope
from stages.data.loading.trace import PairTrace, Row, Trace
from stages.data.loading.windows import Windows
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Phase, Source
from stages.store.manifest import NAME as MANIFEST


@dataclass(frozen=True)
class Batch:
    """A step: `number` is counted over the whole stage from 1, as in metrics.csv; `clock` and `lr` are at its end."""

    stage: Stage
    number: int
    steps: int  # of the stage
    phase: Phase
    step: Step
    clock: int
    lr: float | None
    rows: tuple[Row, ...]
    absent: tuple[str, ...]  # corpora that are not prepared, of which documents and epochs are unknown


def batch(stage: Stage, number: int, data_root: Path) -> Batch:
    """What step `number` reads. Raises ValueError where there is no such step, and UserError as the loader does."""
    place, step = ledger.step_of(stage.phases, number)
    phase = stage.phases[place]
    traced = trace(phase, stage.seed, data_root)
    clock = phase.clock_start + step.end
    rate = None if stage.schedule is None else lr(stage.schedule, clock)
    absent = tuple(source.corpus for source in phase.sources if not prepared(source, data_root))
    steps = sum(map(ledger.count, stage.phases))
    return Batch(stage, number, steps, phase, step, clock, rate, rows(traced, step), absent)


def rows(traced: Trace | PairTrace, step: Step) -> tuple[Row, ...]:
    """The rows of a step, the last one cut where the step is."""
    last = step.sequences - 1
    return tuple(
        traced.row(step.first_sample + number, step.tail if number == last else 0) for number in range(step.sequences)
    )


def trace(phase: Phase, seed: int, data_root: Path, only: Collection[str] | None = None) -> Trace | PairTrace:
    """The rows of a phase, as the engines read them; `only` these corpora are opened, where it is given.

    Raises UserError where a prepared corpus is not the declared one, or does not fit the phase.
    """

    def wanted(source: Source) -> bool:
        return prepared(source, data_root) and (only is None or source.corpus in only)

    word = scope(phase)
    if phase.objective == "coca":
        (source,) = phase.sources
        manifest = open_source(source, data_root).manifest if wanted(source) else None
        return PairTrace(phase, None if manifest is None else Pairs(phase, source, seed, word, manifest))
    return Trace(
        phase,
        [
            Windows(phase, source, seed, word, open_source(source, data_root)) if wanted(source) else None
            for source in phase.sources
        ],
    )


def prepared(source: Source, data_root: Path) -> bool:
    """Whether a source's corpus has been prepared at this scale."""
    return (data_root / source.corpus / MANIFEST).is_file()
