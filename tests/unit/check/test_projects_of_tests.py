"""The small projects of the slow tests have no finding, so that what these start is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.check.findings import unwaived
from stages.check.gate import Gate
from stages.check.run import run_all
from stages.spec.project import Project
from stages.sync import graph
from tests.agreement import events, project
from tests.slurm import four_boxes


@pytest.fixture(scope="module")
def agreement(tmp_path_factory: pytest.TempPathFactory) -> project.Project:
    root = tmp_path_factory.mktemp("agreement")
    project.write_specs(root)
    return project.Project(root)


def findings(root: Path) -> list[str]:
    return [str(one) for one in unwaived(run_all(Project.load(root)))]


def test_the_project_of_the_agreement_table(agreement: project.Project) -> None:
    assert findings(agreement.root) == []


def test_its_stage_whose_rate_diverges_is_started(agreement: project.Project, tmp_path: Path) -> None:
    copy = agreement.copy(tmp_path / "copy")
    events.diverging(copy)
    assert findings(copy.root) == []
    events.sane_again(copy)
    assert findings(copy.root) == []


def test_the_four_stages_of_the_cluster(tmp_path: Path) -> None:
    root = four_boxes.make(tmp_path / "project", 400, 400)
    loaded = Project.load(root)
    gate = Gate(loaded, "mini", graph.load(root, loaded, "mini").stages)
    for box in four_boxes.BOXES:
        gate.refuse(f"four/{box}")
    four_boxes.break_base(root)
    loaded = Project.load(root)
    Gate(loaded, "mini", graph.load(root, loaded, "mini").stages).refuse("four/base")
