"""The mutation matrix: every mutant, who saw it, and a table of it in Markdown.

`python -m tests.mutants.matrix` prints the table for results/records/mutants.md.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from stages.check import catalogue
from tests.mutants import models, reading, training
from tests.mutants.mutant import Edited, Mutant

MUTANTS: tuple[Mutant, ...] = (*training.MUTANTS, *models.MUTANTS, *reading.MUTANTS)


@dataclass(frozen=True)
class Row:
    """A mutant and the invariants that saw it."""

    mutant: Mutant
    seen_by: frozenset[str]

    @property
    def caught(self) -> bool:
        """Whether the invariant that is meant for it spoke."""
        return self.mutant.invariant in self.seen_by


def rows(mutants: Iterable[Mutant] = MUTANTS) -> list[Row]:
    """Every mutant tried, by invariant."""
    found = []
    for mutant in sorted(mutants, key=lambda one: one.invariant):
        with tempfile.TemporaryDirectory() as folder:
            found.append(Row(mutant, mutant.seen_by(Path(folder))))
    return found


def markdown(found: Iterable[Row]) -> str:
    """A table with one line a mutant, and the sum below it."""
    lines = ["# Mutants", "", "| invariant | defect | made in | caught | also seen by |", "|---|---|---|---|---|"]
    caught = total = 0
    for row in found:
        made = f"`specs/{row.mutant.made.file}`" if isinstance(row.mutant.made, Edited) else "the resolved stage"
        also = ", ".join(sorted(row.seen_by - {row.mutant.invariant}))
        lines.append(
            f"| {row.mutant.invariant} {catalogue.find(row.mutant.invariant).title} | {row.mutant.defect} "
            f"| {made} | {'yes' if row.caught else '**no**'} | {also} |"
        )
        caught, total = caught + row.caught, total + 1
    return "\n".join([*lines, "", f"{caught} of {total} mutants caught by the invariant that is meant for them.", ""])


if __name__ == "__main__":
    print(markdown(rows()), end="")
