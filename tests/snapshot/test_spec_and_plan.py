"""What every shipped stage is, at full size and as a miniature: a changed number shows here and nowhere else."""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from stages.spec.project import Project
from tests import shipped
from tests.edits import replaced
from tests.snapshot.describe import page

SCALES = ("paper", "mini")
SHIPPED = shipped.project()


def own(project: Project) -> list[tuple[str, str]]:
    """(pipeline, stage) of every stage that has a rule at one of the scales, variants included."""
    return [
        (pipeline, stage)
        for pipeline in project.pipelines(variants=True)
        for stage in project.resolve(pipeline, SCALES[0]).stages
        if any(stage in project.resolve(pipeline, scale).own for scale in SCALES)
    ]


@pytest.mark.parametrize(("pipeline", "stage"), own(SHIPPED), ids=[".".join(pair) for pair in own(SHIPPED)])
def test_stage(pipeline: str, stage: str, text: SnapshotAssertion) -> None:
    assert page(SHIPPED, pipeline, stage, SCALES) == text


@pytest.fixture
def edited(tmp_path: Path) -> Project:
    """The shipped specs with one line changed: the peak of Ouro's stable rate."""
    shipped.copy(tmp_path)
    file = tmp_path / "specs/ouro/pipeline.yaml"
    before = file.read_text()
    line = "- {shape: linear, from: 0, to: 3e-4, for: 2000 steps}"
    assert before.count(line) == 1
    file.write_text(replaced(before, line, replaced(line, "3e-4", "4e-4")))
    return Project.load(tmp_path)


def read_from(project: Project, schedule: str) -> set[tuple[str, ...]]:
    """The stages that read a schedule of pipeline ouro, and everything that is built on them, variants included."""
    found: set[tuple[str, ...]] = set()
    for pipeline in ("ouro", "ouro_seed003"):
        resolved = project.resolve(pipeline, "paper")
        for name in resolved.stages:  # parents first
            named = resolved.stages[name].schedule
            above = {tuple(ref.split("/")) for ref in resolved.stages[name].parents}
            if (named is not None and named.name == schedule) or above & found:
                found.add(tuple(resolved.refs[name].split("/")))
    return found


def test_one_changed_line_changes_exactly_the_snapshots_downstream_of_it(edited: Project) -> None:
    changed = {
        pair for pair in own(SHIPPED) if page(SHIPPED, *pair, SCALES) != page(edited, *pair, SCALES)
    }  # fmt: skip
    assert changed == read_from(SHIPPED, "stable")
    assert {pipeline for pipeline, _ in changed} == {"ouro", "ouro_seed003"}
    assert {pipeline for pipeline, _ in own(SHIPPED)} > {"ouro", "ouro_seed003"}


def test_the_difference_is_the_rate_and_the_key(edited: Project) -> None:
    before, after = (page(project, "ouro", "stable_1", ("paper",)).splitlines() for project in (SHIPPED, edited))
    removed, added = (
        [line[1:].strip() for line in difflib.unified_diff(before, after, n=0, lineterm="") if line[:2] == f"{sign} "]
        for sign in "-+"
    )
    assert len(removed) == len(added) <= 6
    for line in (*removed, *added):
        assert line.startswith(("pieces.", "key ", "phase main: LR"))
    assert [line for line in added if "LR of the last step" in line] == ["phase main: LR of the last step 0.0004"]
