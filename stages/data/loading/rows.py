"""Rows are counted before step 1: a phase that cannot be trained to its end is refused before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from stages.contract import ledger
from stages.data import spec
from stages.data.loading.loader import PhaseData, Supply
from stages.data.loading.readers import scope
from stages.data.loading.sample import UNSUPERVISED
from stages.errors import UserError
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Phase, both_answers


def refuse_short(stage: Stage, root: Path, data_root: Path) -> None:
    """Raise UserError, with both counts for each source that ends too early, unless every phase can be read to its end.

    Packing plans are made as training makes them, so the counts are exact. `root` is the project's folder, `data_root`
    contains the prepared corpora.
    """
    found = [line for phase in stage.phases for line in _found(stage, phase, root, data_root)]
    if found:
        raise UserError("\n".join(found))


def _found(stage: Stage, phase: Phase, root: Path, data_root: Path) -> Iterator[str]:
    data = PhaseData(phase, stage.seed, scope(phase), data_root)
    where = f"{stage.ref}, phase {phase.name}"
    short = [supply for supply in data.supplies() if supply.needed > supply.available]
    for supply in short:
        yield f"{where}: {_counts(phase, supply)}. {_repair(supply, root)}"
    if not short and phase.answers_alone:
        yield from _last_step(where, phase, data)


def _last_step(where: str, phase: Phase, data: PhaseData) -> Iterator[str]:
    """A last step that is a part of one row, which no conversation fits."""
    _, last = ledger.stretches(phase)
    if last is None or last.sequences > 1 or not last.tail:
        return
    (row,) = data.samples(last.first_sample, 1, last.tail)
    if (row.labels == UNSUPERVISED).all():
        yield (
            f"{where}: its last step is {last.tail} of the {phase.context:,} positions of one row, and no conversation "
            "that is left is so short: it would have nothing to learn from. Nothing was trained. Make the budget a "
            "multiple of the context; at a scale that shrinks budgets, write `whole_rows: true` under `tokens` of the "
            "pipeline's entry."
        )


def _counts(phase: Phase, supply: Supply) -> str:
    source, epochs = supply.source, f"{phase.epochs} epoch{'' if phase.epochs == 1 else 's'}"
    text = (
        f"{supply.needed:,} {supply.unit} of {source.corpus} are needed, {supply.available:,} are there in {epochs} of "
        f"[{source.start:,}, {source.end:,})"
    )
    if supply.left_out:
        text += (
            f"; {supply.left_out:,} of its {supply.documents:,} documents are longer than the context of "
            f"{phase.context:,} and left out{both_answers(source.kind)}"
        )
    return text


def _repair(supply: Supply, root: Path) -> str:
    """What is certain to help: where it is not known how much fits, more epochs or a lower budget may not be enough."""
    name = supply.source.corpus
    if supply.left_out and not spec.load(root, name).packed:
        return (
            f"Nothing was trained. `stages data {name} --accept` prints `packed`, how much of the corpus fits into "
            f"rows: put it into specs/data/{name}.yaml, and stretches are given out by what fits."
        )
    missing = supply.needed - supply.available
    return (
        f"Nothing was trained. Lower the budget or the corpus's share by {missing:,} {supply.unit} and a few more, or "
        "write the budget in epochs (`budget: 1 epoch`), which ends where the rows do."
    )
