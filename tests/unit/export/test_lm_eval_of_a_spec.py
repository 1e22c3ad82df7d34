"""`evaluate: {lm_eval: [...]}` of a stage's spec: run where the harness is installed, told of where it is not."""

from __future__ import annotations

import json
import shutil
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest

from stages.commands.evaluate import evaluate_as_specified
from stages.commands.run import run_stage
from stages.commands.status import print_status
from stages.errors import UsageError, UserError
from stages.export import harness
from stages.report.gates import judge
from stages.report.metrics import read
from stages.spec.project import Project
from stages.store import lm_eval_tasks
from stages.store.layout import Layout
from stages.sync import graph, verdicts
from stages.sync.verdicts import Verdict
from tests.edits import edit
from tests.unit.export import test_harness
from tests.unit.export.test_harness import whole

TUNED = "plain/tuned.yaml"
OLD = "evaluate: [validation_loss, answers]"
NEW = "evaluate: {heldout: [validation_loss, answers], lm_eval: [tiny_sums], lm_eval_tasks: tasks}"
copied, python, tasks = test_harness.copied, test_harness.python, test_harness.tasks


@pytest.fixture
def asking(copied: Path, tasks: Path) -> Path:
    """A finished project, one stage of which asks for a task that it has not been evaluated by."""
    shutil.copytree(tasks, copied / "tasks")
    return edited(copied, OLD, NEW)


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lm_eval_tasks, "installed", lambda root: None)


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[harness.Asked]:
    """A harness that knows every task and finds the same; what it was asked."""
    asked: list[harness.Asked] = []

    def run(python: Path, export: Path, what: harness.Asked, *more: object) -> dict[str, Any]:
        asked.append(what)
        own = {"limit": what.limit, **lm_eval_tasks.definitions(what.folder)}
        return {task: {"acc": 0.5, "documents": 6, **own} for task in what.tasks}

    monkeypatch.setattr(lm_eval_tasks, "installed", lambda root: Path("python"))
    monkeypatch.setattr(harness, "version", lambda python: "0.0")
    monkeypatch.setattr(harness, "unknown", lambda python, what: [])
    monkeypatch.setattr(harness, "run", run)
    return asked


def edited(root: Path, old: str, new: str) -> Path:
    edit(root / "specs" / TUNED, old, new)
    return root


def verdict(root: Path, ref: str = "plain/tuned") -> Verdict:
    loaded = graph.load(root, Project.load(root), "mini")
    return verdicts.judge(Layout(root, "mini"), loaded.stages, loaded.keys)[ref]


def run(root: Path, ref: str = "plain/tuned") -> None:
    with chdir(root):
        run_stage(ref, "mini", None)


def numbers(root: Path) -> Any:
    return json.loads((root / "results/mini/plain/tuned/eval.json").read_text())


@pytest.mark.lm_eval
@pytest.mark.slow
def test_what_a_spec_asks_for_is_found_on_an_export(
    asking: Path, python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lm_eval_tasks, "installed", lambda root: python)
    before = numbers(asking)
    run(asking)
    after = numbers(asking)
    section = after["after"].pop("lm_eval")
    assert after == before
    assert (section["tiny_sums"]["documents"], section["harness"]) == (6, harness.version(python))
    assert verdict(asking).state == "done"
    assert whole(asking, "plain/tuned")
    edited(asking, "[tiny_sums]", "[tiny_sum]")
    with pytest.raises(
        UserError, match=r"lm_eval: found tiny_sum; allowed: tasks of lm-evaluation-harness, or of .*tasks"
    ):
        run(asking)


def test_it_is_in_no_key_and_nothing_is_trained_for_it(asking: Path, found: list[harness.Asked]) -> None:
    place = asking / "results/mini/plain/tuned"
    kept = {name: (place / name).read_bytes() for name in ("manifest.json", "metrics.csv", "run.json")}
    assert verdict(asking).state == "unevaluated"
    assert verdict(asking).why == "lm_eval: tiny_sums not run"
    assert verdict(asking, "toy/joint").state == "done"
    run(asking)
    assert [(one.tasks, one.limit) for one in found] == [(("tiny_sums",), None)]
    assert {name: (place / name).read_bytes() for name in kept} == kept
    assert numbers(asking)["after"]["lm_eval"]["tiny_sums"]["acc"] == 0.5
    assert (verdict(asking).state, verdict(asking).note) == ("done", "")
    run(asking)
    assert len(found) == 1, "what is there is not run again"


def test_where_it_is_not_installed_the_stage_is_done_and_says_what_it_lacks(
    asking: Path, without: None, capsys: pytest.CaptureFixture[str]
) -> None:
    run(asking)
    said = capsys.readouterr().out
    assert "plain/tuned: lm_eval: tiny_sums not run: lm-evaluation-harness is not installed. `make lm-eval`" in said
    assert "then `stages evaluate plain/tuned --scale mini` runs them, and trains nothing" in said
    one = verdict(asking)
    assert (one.state, one.note) == ("done", "lm_eval: tiny_sums not run, not installed")
    with chdir(asking):
        print_status("mini", (), False, False, False)
    assert "lm_eval: tiny_sums not run, not installed" in capsys.readouterr().out
    assert "lm_eval" not in numbers(asking)["after"]
    assert whole(asking, "plain/tuned")


def test_a_stage_that_is_trained_where_it_is_not_installed_is_evaluated_where_it_is(
    asking: Path, monkeypatch: pytest.MonkeyPatch, found: list[harness.Asked], capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(asking / "results/mini/plain/tuned")
    shutil.rmtree(asking / "results/.runs")
    with monkeypatch.context() as patch:
        patch.setattr(lm_eval_tasks, "installed", lambda root: None)
        run(asking)
    assert found == []
    assert not gate(asking).passed
    assert verdict(asking).state == "unevaluated"
    weights = (asking / "results/mini/plain/tuned/manifest.json").read_bytes()
    with chdir(asking):
        capsys.readouterr()
        evaluate_as_specified("plain/tuned", "mini", Path("python"), as_json=True)
    assert json.loads(capsys.readouterr().out)["tiny_sums"]["acc"] == 0.5
    assert verdict(asking).state == "done"
    assert gate(asking).passed
    assert (asking / "results/mini/plain/tuned/manifest.json").read_bytes() == weights


def gate(root: Path) -> Any:
    (one,) = [gate for gate in judge([read(root / "results/mini/plain/tuned")]) if "lm_eval" in gate.name]
    return one


@pytest.mark.parametrize(
    ("old", "new", "again"),
    [
        ("[tiny_sums]", "[tiny_sums, other]", ("other",)),
        ("[tiny_sums]", "[tiny_sums], limit: 3", ("tiny_sums",)),
        (", lm_eval_tasks: tasks", "", ("tiny_sums",)),
        ("[validation_loss, answers]", "[validation_loss]", ()),
    ],
)
def test_what_is_asked_for_otherwise_is_run_again_and_no_more(
    old: str, new: str, again: tuple[str, ...], asking: Path, found: list[harness.Asked]
) -> None:
    run(asking)
    edited(asking, old, new)
    run(asking)
    assert [one.tasks for one in found[1:]] == ([again] if again else [])
    assert verdict(asking).state == "done"
    assert "tiny_sums" in numbers(asking)["after"]["lm_eval"]


def test_a_task_that_is_defined_otherwise_is_run_again(asking: Path, found: list[harness.Asked]) -> None:
    run(asking)
    path = asking / "tasks/sums.yaml"
    edit(path, "version: 1.0", "version: 2.0")
    assert verdict(asking).state == "unevaluated"
    run(asking)
    assert len(found) == 2
    assert verdict(asking).state == "done"


def test_a_harness_that_fails_leaves_the_result_whole_and_is_told(
    asking: Path, found: list[harness.Asked], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = numbers(asking)

    def fail(*words: object) -> None:
        raise UserError("lm-evaluation-harness ended with 1, and wrote no results. It said: no network")

    with monkeypatch.context() as patch:
        patch.setattr(harness, "run", fail)
        with pytest.raises(UserError, match="no network"):
            run(asking)
    one = verdict(asking)
    assert one.state == "failed"
    assert "its result is whole, and could not be evaluated again (lm_eval: tiny_sums not run): " in one.why
    assert numbers(asking) == before
    assert whole(asking, "plain/tuned")
    run(asking)
    assert verdict(asking).state == "done"


def test_tasks_are_refused_before_anything_is_trained(
    asking: Path, found: list[harness.Asked], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(asking / "results/mini/plain/tuned")
    monkeypatch.setattr(harness, "unknown", lambda python, what: ["tiny_sums"])
    with pytest.raises(UserError, match=r"plain/tuned: evaluate.lm_eval: found tiny_sums; allowed: tasks of"):
        run(asking)
    shutil.rmtree(asking / "tasks")
    with pytest.raises(UserError, match=r"plain/tuned: evaluate.lm_eval_tasks: .*tasks is not a folder"):
        run(asking)
    assert not (asking / "results/mini/plain/tuned").exists()


def test_a_stage_that_asks_for_nothing_has_nothing_to_be_run(copied: Path) -> None:
    with chdir(copied), pytest.raises(UsageError, match="found neither --tasks nor --lm-eval, and plain/base has no"):
        evaluate_as_specified("plain/base", "mini", None, as_json=False)


def test_an_environment_in_the_project_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lm_eval_tasks, "CODE", tmp_path / "code")
    assert lm_eval_tasks.installed(tmp_path) is None
    package = tmp_path / lm_eval_tasks.ENVIRONMENT / "lib/python3.11/site-packages/lm_eval"
    package.mkdir(parents=True)
    assert lm_eval_tasks.installed(tmp_path) is None, "half of it is none"
    (package / "__init__.py").touch()
    assert lm_eval_tasks.installed(tmp_path) == tmp_path / lm_eval_tasks.ENVIRONMENT / "bin/python"
