"""A mistake in a spec of the small project, and the one error that it gets."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from stages.errors import SpecError
from stages.spec.project import Project
from tests.unit.spec.small_project import edit

FIRST, SECOND, PIPELINE = "toy/first.yaml", "toy/second.yaml", "toy/pipeline.yaml"
MIXTURES, MINI = "data/mixtures.yaml", "scales/mini.yaml"


class Bad(NamedTuple):
    name: str
    file: str
    old: str
    new: str
    says: str  # words of the message
    key: str
    lines_down: int = 0  # from the edited place to the reported line
    reported: str = ""  # the file that the error names, if another than the edited one


def resolve_everything(root: Path) -> None:
    project = Project.load(root)
    for scale in ("paper", "mini"):
        for pipeline in project.pipelines(variants=True):
            project.resolve(pipeline, scale)


def refused(root: Path, bad: Bad) -> None:
    """The mistake has one error, at its line and its key, in words that say what is wrong and what to do."""
    line = edit(root, bad.file, bad.old, bad.new) + bad.lines_down
    with pytest.raises(SpecError) as caught:
        resolve_everything(root)
    error = caught.value
    assert error.where.file == f"specs/{bad.reported or bad.file}"
    assert error.key == bad.key
    assert bad.says in str(error)
    assert error.repair
    if not bad.reported:
        assert error.where.line == line
