"""Writes results/records/planted_defects.md: what each defect does to the final loss, beside what finds it.

Usage: python -m tests.planted.record
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

from stages.store import files
from stages.testing import curves, loops
from stages.testing.watch import GENERATOR
from tests.planted import finding
from tests.planted.defects import DEFECTS, Defect
from tests.planted.plain import heldout

TARGET = Path(__file__).resolve().parents[2] / "results/records/planted_defects.md"
STEPS, CUTS, GATE = 48, (16, 33), 0.01
HEAD = f"""# Planted defects, and a tolerance on the final loss

Written by `python -m tests.planted.record`. Three tiny loops (plain torch, Hugging Face's Trainer, Lightning) with
twelve defects, {STEPS} steps each; those of resuming are stopped after steps {CUTS[0]} and {CUTS[1]}. The loss is
that of held-out samples at the end, beside the sound loop's from the same seed; the last column is a tolerance
of {GATE:.0%} on it. The tests in tests/planted ask that the named fixture finds each defect at its first step, and
names its first component.

| defect | found by | first component | loop | final loss, sound | with the defect | change | a 1% tolerance |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""


def final(loop: Any, folder: Path, cuts: tuple[int, ...]) -> tuple[float, loops.Run]:
    """Held-out loss at the end, and what the loop showed."""
    models: list[Any] = []

    def train(until: int, where: Path, watch: Any) -> None:
        models.append(loop.train(until, where, watch))

    run = loops.run(train, STEPS, folder, cuts)
    return heldout(models[-1]), run


def rows(place: int, defect: Defect, folder: Path) -> list[tuple[str, bool]]:
    """A line for each library in which the defect can be planted, and whether a tolerance lets it pass."""
    lines = []
    for library, (sound, broken) in finding.loops_with(place).items():
        if broken is None:
            continue
        cuts = CUTS if defect.fixture == "twin" else ()
        old, whole = final(sound(), folder / f"{place}-{library}-sound", cuts)
        new, run = final(broken(), folder / f"{place}-{library}", cuts)
        without = () if defect.fixture != "layout" else (GENERATOR,)
        assert curves.change(whole.content(without=without), run.content(whole.drawn, without)) is not None
        change = abs(new - old) / old
        passed = change <= GATE
        cells = [defect.name, f"`{defect.fixture}`", defect.component, library, f"{old:.4f}", f"{new:.4f}"]
        lines.append((f"| {' | '.join(cells)} | {change:.2%} | {'passes' if passed else 'fails'} |", passed))
    return lines


def main() -> None:
    """Measure all and write the page."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        found = [one for place, defect in enumerate(DEFECTS) for one in rows(place, defect, Path(folder))]
    passed = sum(one for _, one in found)
    end = (
        f"\nA 1% tolerance on the final loss lets {passed} of {len(found)} pass. The fixtures find all {len(found)}.\n"
    )
    files.write_atomic(TARGET, (HEAD + "\n".join(line for line, _ in found) + "\n" + end).encode())


if __name__ == "__main__":
    main()
