"""The mutation matrix: every mutant, who saw it, and a table of it in Markdown.

`make mutants` writes it to results/records/mutants.md.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from stages.check import catalogue
from tests.mutants import code, execution, layouts, lineage, models, reading, reported, schedules, training, written
from tests.mutants.mutant import Edited, Mutant

MUTANTS: tuple[Mutant, ...] = (
    *schedules.MUTANTS,
    *training.MUTANTS,
    *models.MUTANTS,
    *reading.MUTANTS,
    *lineage.MUTANTS,
    *execution.MUTANTS,
    *layouts.MUTANTS,
    *written.MUTANTS,
)


@dataclass(frozen=True)
class Row:
    """A mutant (its invariant, its defect, where that was put) and the invariants that saw it."""

    invariant: str
    defect: str
    made_in: str
    seen_by: frozenset[str]

    @property
    def caught(self) -> bool:
        """Whether the invariant that is meant for it spoke."""
        return self.invariant in self.seen_by


def rows(mutants: Iterable[Mutant] = MUTANTS) -> list[Row]:
    """Every mutant of specs and resolved stages tried, by invariant."""
    found = []
    for mutant in sorted(mutants, key=lambda one: one.invariant):
        with tempfile.TemporaryDirectory() as folder:
            found.append(_row(mutant, Path(folder)))
    return found


def _row(mutant: Mutant, folder: Path) -> Row:
    """An edit of YAML is run through the command, at every scale; where the loader refuses it, that is what sees it."""
    if not isinstance(mutant.made, Edited):
        return Row(mutant.invariant, mutant.defect, "the resolved stage", mutant.seen_by(folder))
    _, seen = mutant.made.commanded(folder)
    made_in = f"YAML, `specs/{mutant.made.file}`" + (", refused when read" if mutant.refused else "")
    return Row(mutant.invariant, mutant.defect, made_in, seen)


def guarded() -> list[Row]:
    """Every mutated report of an engine tried on the guards."""
    tried = [(reported.STAGE, id, defect, made()) for id, defect, made in reported.MUTANTS]
    tried += [(reported.DEEPER, id, defect, report) for id, defect, report in reported.UPCYCLED]
    tried += [(reported.PREFERRED, id, defect, report) for id, defect, report in reported.OF_PAIRS]
    return [
        Row(id, defect, "what the engine reports", frozenset(one.id for one in reported.found(stage, report)))
        for stage, id, defect, report in tried
    ]


def of_code() -> list[Row]:
    """Every mutant of the code tried on its invariant's property."""
    return [
        Row(one.invariant, one.defect, f"`{one.made_in}`", frozenset({one.invariant} if one.caught() else ()))
        for one in code.MUTANTS
    ]


def markdown(found: Iterable[Row]) -> str:
    """A table with one line a mutant, and the sum below it."""
    lines = ["# Mutants", "", "| invariant | defect | made in | caught | also seen by |", "|---|---|---|---|---|"]
    caught = total = 0
    for row in sorted(found, key=lambda one: one.invariant):
        also = ", ".join(sorted(row.seen_by - {row.invariant}))
        lines.append(
            f"| {row.invariant} {catalogue.find(row.invariant).title} | {row.defect} "
            f"| {row.made_in} | {'yes' if row.caught else '**no**'} | {also} |"
        )
        caught, total = caught + row.caught, total + 1
    return "\n".join([*lines, "", f"{caught} of {total} mutants caught by the invariant that is meant for them.", ""])
