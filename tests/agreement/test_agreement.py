"""After whatever happens to a finished project, stages status, snakemake -n and dvc repro agree, and either heals.

What the tools did is read from attempts and results on disk, not from what they say.
"""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
from blake3 import blake3
from filelock import FileLock

from tests.agreement import events, table, verdicts
from tests.agreement import project as small
from tests.agreement.events import EVENTS, Event, boxes
from tests.agreement.project import Project
from tests.agreement.trial import HEALERS, attempt, expected

CASES = [
    pytest.param(
        event, healer, id=f"{event.name}: {healer}", marks=() if event.daily == healer else pytest.mark.nightly
    )
    for event in EVENTS
    for healer in HEALERS
]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Project:
    """Trained once for all events and all workers; everything happens to copies."""
    shared = tmp_path_factory.getbasetemp() if worker_id == "master" else tmp_path_factory.getbasetemp().parent
    project, done = Project(shared / "agreement/project"), shared / "agreement/done"
    with FileLock(shared / "agreement.lock"):
        if not done.exists():
            small.finish(small.write(project.root))
            done.touch()
    return project


@pytest.mark.parametrize(("event", "healer"), CASES)
def test_three_verdicts_are_one_and_either_tool_heals(event: Event, healer: str, finished: Project) -> None:
    outcome = attempt(event, healer, finished)
    assert outcome == expected(event, healer), outcome.said


def test_the_page_holds_these_events_and_what_is_held_of_them() -> None:
    held = [table.row(event, {healer: expected(event, healer) for healer in HEALERS}) for event in EVENTS]
    assert table.rows(table.PATH.read_text(encoding="utf-8")) == held


def test_a_change_of_the_code_is_told_and_runs_nothing(finished: Project, tmp_path: Path) -> None:
    project = finished.copy(tmp_path / "project")
    assert "made by other code" not in project.type("stages", "status")
    events.code(project)
    assert "6 made by other code than stages/ has now" in project.type("stages", "status")
    assert verdicts.status(project) == verdicts.listed(project) == frozenset()


def contents(project: Project) -> Counter[str]:
    """Every file of every finished result, in place or aside, by its digest."""
    found = [*project.root.glob("results/mini/*/*/"), *project.root.glob("results/.runs/*/final*/")]
    files = (path for folder in found for path in folder.rglob("*") if path.is_file())
    return Counter(blake3(path.read_bytes()).hexdigest() for path in files)


@pytest.mark.nightly
def test_a_failed_dvc_repro_destroys_nothing_and_the_next_one_goes_on(finished: Project, tmp_path: Path) -> None:
    """All is to be run again; the middle stage fails once the stages before it are done."""
    project = finished.copy(tmp_path / "project")
    project.edit(events.SCALE, "seed: 1", "seed: 2")
    old = contents(project)
    events.failed("dvc", "repro")(project)
    after_failure = contents(project)
    assert old <= after_failure
    assert boxes("joint", "release") <= verdicts.status(project)
    assert not boxes("text", "vit", "kept") & verdicts.status(project)

    events.sane_again(project)
    left, before = verdicts.status(project), verdicts.look(project)
    project.type("dvc", "repro")
    assert verdicts.between(before, verdicts.look(project)).trained == left
    assert after_failure <= contents(project)


@pytest.mark.nightly
def test_dvc_repro_killed_with_all_its_processes_destroys_nothing(finished: Project, tmp_path: Path) -> None:
    project = finished.copy(tmp_path / "project")
    old = contents(project)
    events.killed("dvc", "repro", everything=True)(project)
    assert old <= contents(project)
    assert verdicts.status(project) == verdicts.listed(project) == events.BELOW_JOINT
    before = verdicts.look(project)
    project.type("dvc", "repro")
    assert verdicts.between(before, verdicts.look(project)).trained == events.BELOW_JOINT
    assert old <= contents(project)
    assert "up to date" in project.type("dvc", "status")


@pytest.mark.nightly
def test_what_was_pushed_is_pulled_into_an_empty_project_without_training(finished: Project, tmp_path: Path) -> None:
    project = finished.copy(tmp_path / "project")
    old = contents(project)
    shutil.rmtree(project.root / "results")
    shutil.rmtree(project.root / ".dvc/cache")
    project.type("dvc", "pull", "--quiet")
    assert contents(project) == old
    assert verdicts.status(project, deep=True) == verdicts.listed(project) == frozenset()
    assert "up to date" in project.type("dvc", "repro")
    assert not (project.root / "results/.runs").exists()
