"""Rows counted before step 1: a phase that would run out of documents is refused before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from stages.data import spec
from stages.data.loader import PhaseData, Supply
from stages.data.readers import scope
from stages.errors import UserError
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Phase


def refuse_short(stage: Stage, root: Path, data_root: Path) -> None:
    """Raise UserError, with both counts for each source that ends too early, unless every phase can be read to its end.

    Packing plans are made as training makes them, so the counts are exact. `root` is the project's folder, `data_root`
    holds the prepared corpora.
    """
    found = [line for phase in stage.phases for line in _short(stage, phase, root, data_root)]
    if found:
        raise UserError("\n".join(found))


def _short(stage: Stage, phase: Phase, root: Path, data_root: Path) -> Iterator[str]:
    for supply in PhaseData(phase, stage.seed, scope(phase), data_root).supplies():
        if supply.needed > supply.available:
            ref = f"{stage.pipeline}/{stage.name}"
            yield f"{ref}, phase {phase.name}: {_counts(phase, supply)}. {_repair(supply, root)}"


def _counts(phase: Phase, supply: Supply) -> str:
    source, epochs = supply.source, f"{phase.epochs} epoch{'' if phase.epochs == 1 else 's'}"
    said = (
        f"{supply.needed:,} {supply.unit} of {source.corpus} are needed, {supply.available:,} are there in {epochs} of "
        f"[{source.start:,}, {source.end:,})"
    )
    if supply.left_out:
        said += (
            f"; {supply.left_out:,} of its {supply.documents:,} documents are longer than the context of "
            f"{phase.context:,} and left out"
        )
    return said


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
