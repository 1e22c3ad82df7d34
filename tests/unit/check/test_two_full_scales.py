"""Two scales that shrink nothing: each has its own findings, and neither has the other's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stages.check.findings import SPEC
from stages.check.run import make_context, run, run_all
from stages.spec.project import Project
from tests.edits import edit
from tests.unit.spec import small_project

GPU = """\
scale: gpu
extends: paper
corpora: stand_in
releases: stand_in
vocab: 512
sources:
  - {covers: ["*"], mark: chosen}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The small project, and a scale of full size that reads the local corpora, which are far too small for it."""
    small_project.write(tmp_path)
    (tmp_path / "specs/scales/gpu.yaml").write_text(GPU)
    return tmp_path


def test_a_mistake_of_one_scale_is_a_finding_of_that_scale_alone(root: Path) -> None:
    found = [one for one in run_all(Project.load(root)) if one.id == SPEC]
    assert {one.scale for one in found} == {"gpu"}
    assert all("3000000" in one.observed for one in found), "of a corpus of 3 million tokens"


def test_a_smaller_scale_is_compared_with_the_published_one(root: Path) -> None:
    project = Project.load(root)
    assert project.scales()[0] == "gpu"
    full = make_context(project, "toy", "mini").full
    assert full is not None
    assert full.scale == "paper"


def test_a_scale_of_full_size_is_compared_with_no_other(root: Path) -> None:
    assert make_context(Project.load(root), "toy", "paper").full is None


def test_a_scale_whose_file_is_broken_does_not_break_the_others(root: Path) -> None:
    small_project.edit(root, "scales/gpu.yaml", "vocab: 512", "vocab: many")
    project = Project.load(root)
    assert {one.id for one in run(project, "gpu")} == {SPEC}
    assert SPEC not in {one.id for one in run(project, "mini")} | {one.id for one in run(project, "paper")}


def test_a_scale_that_is_wrong_for_one_pipeline_does_not_break_the_others(root: Path) -> None:
    """The pipeline `toy` asks for more than the corpus has; `tiny` is content with it."""
    other = root / "specs/tiny"
    other.mkdir()
    for path in (root / "specs/toy").iterdir():
        text = re.sub(r"(?<=\d)B\b", "M", path.read_text())  # in those that have a figure
        (other / path.name).write_text(text)
    edit(other / "pipeline.yaml", "pipeline: toy", "pipeline: tiny", "100 steps", "1 steps")
    edit(other / "first.yaml", "epochs: 1", "epochs: 9", everywhere=True)
    edit(other / "second.yaml", "epochs: 1", "epochs: 9")
    project = Project.load(root)
    assert {one.stage for one in run(project, "gpu") if one.id == SPEC} == {"toy/first"}
    assert project.resolve("tiny", "gpu").stages
