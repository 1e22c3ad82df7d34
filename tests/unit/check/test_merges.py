"""Averages of one stage's checkpoints: notices where they reach back too far, or hardly average."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.check.notices.merges import reaching_back
from stages.check.notices.run import as_written
from stages.spec.project import Project
from tests.mutants import unshipped
from tests.unit.check.reported import of_all
from tests.unit.spec.small_project import edit

UNIFORM, EMA = "dense/uniform.yaml", "dense/average.yaml"


def test_checkpoints_of_the_last_quarter_are_averaged(tmp_path: Path) -> None:
    assert of_all(Project.load(unshipped.write(tmp_path)), reaching_back) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        (UNIFORM, "trunk@6Gi", "trunk@3Gi",
         "uniform averages trunk@3Gi, which has read 3,221,225,472 of 8,589,934,592."),
        (UNIFORM, "trunk@6Gi, ", "", ""),
        (EMA, "decay: 0.9", "decay: 0.1",
         "average has 90% of its last checkpoint; recipes have a decay of 0.9 and more."),
        (EMA, "decay: 0.9", "decay: 0.5", ""),
    ],
)  # fmt: skip
def test_an_average_that_is_told(tmp_path: Path, file: str, old: str, new: str, said: str) -> None:
    line = edit(unshipped.write(tmp_path), file, old, new)
    notice = f"specs/{file}:{line}: {said}"
    assert of_all(Project.load(tmp_path), reaching_back) == [notice] * bool(said)
    assert (notice in as_written(Project.load(tmp_path))) == bool(said)


@pytest.mark.parametrize(
    ("first", "second", "told"), [("0.7", "0.2", True), ("0.7", "0.3", False), ("7", "2", False), ("1", "0.5", False)]
)
def test_fractions_that_are_not_of_one_whole(tmp_path: Path, first: str, second: str, told: bool) -> None:
    """Shares are proportions: 9 and 1 are as good as 0.9 and 0.1, and 0.7 and 0.2 a slip in one of the two."""
    root = unshipped.write(tmp_path)
    text = (root / "specs" / UNIFORM).read_text()
    parents = text.partition("from: [")[2].partition("]")[0].split(", ")
    shares = ", ".join(f"{one}: {share}" for one, share in zip(parents[:2], (first, second), strict=True))
    edit(root, UNIFORM, f"[{', '.join(parents)}]", f"[{', '.join(parents[:2])}]")
    edit(root, UNIFORM, "weights: uniform", f"weights: weighted, shares: {{{shares}}}")
    edit(root, UNIFORM, "kind: merge", "kind: merge\nsources:\n  - {covers: [init], mark: chosen}")
    said = of_all(Project.load(root), reaching_back)
    assert [one.partition(": ")[2] for one in said if "shares" in one] == [
        f"uniform has shares that sum to 0.9; in proportion they are 0.778 of {parents[0]}, 0.222 of {parents[1]}."
    ] * told
