"""Averages of one stage's checkpoints: notices where they reach back too far, or hardly average."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.check.notices.merges import reaching_back
from stages.check.notices.run import as_written
from stages.spec.project import Project
from tests.mutants import unshipped
from tests.unit.check.told import of_all
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
