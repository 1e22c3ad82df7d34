"""`stages diff` and `stages plan` without `--scale`, in projects that have no scale called paper, or not for all."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from stages.commands.check import run_checks
from stages.commands.diff import print_diff
from stages.commands.plan import print_plan
from stages.errors import UserError
from tests import edits
from tests.mutants.mutant import ROOT
from tests.unit.diff.conftest import GIT, commit
from tests.unit.spec import lone
from tests.unit.spec.small_project import edit


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two pipelines, of which one is at the shrunk scale only, in a git repository with one commit."""
    lone.write(tmp_path)
    shutil.copytree(ROOT / "specs/hardware", tmp_path / "specs/hardware")
    subprocess.run([*GIT, "init", "-q", "."], cwd=tmp_path, check=True)
    commit(tmp_path, "one")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_edited_pipeline_that_is_not_at_paper_is_named(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(project, "lone/pipeline.yaml", "to: 1e-3", "to: 2e-3")
    told = "lone is edited and is not at paper: what that does is shown at mini (--scale)"
    print_diff("HEAD", None, None, None, False, False)
    assert capsys.readouterr().out.rstrip().endswith(told)
    print_diff("HEAD", None, None, None, True, False)
    assert told in capsys.readouterr().out
    print_diff("HEAD", None, None, None, False, True)
    assert json.loads(capsys.readouterr().out)["elsewhere"] == [told]
    print_diff("HEAD", None, "mini", None, False, False)
    text = capsys.readouterr().out
    assert "lone/first" in text
    assert told not in text


def test_a_project_without_a_scale_called_paper_is_compared(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paper, mini = (project / f"specs/scales/{name}.yaml" for name in ("paper", "mini"))
    paper.rename(paper.with_name("full.yaml"))
    edit(project, "scales/full.yaml", "scale: paper", "scale: full")
    edits.edit(mini, "extends: paper", "extends: full")
    commit(project, "two")
    edit(project, "toy/pipeline.yaml", "to: 1e-3", "to: 2e-3")
    print_diff("HEAD", None, None, None, False, False)
    assert capsys.readouterr().out.startswith("HEAD → work tree, at mini"), "the first by name would be full"


def test_a_pipeline_is_planned_at_a_scale_that_it_is_at(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_plan(("lone",), None, None, False, True)
    assert [one["scale"] for one in json.loads(capsys.readouterr().out)] == ["mini"]
    print_plan(("toy",), None, None, False, True)
    assert [one["scale"] for one in json.loads(capsys.readouterr().out)] == ["paper"]


@pytest.mark.parametrize("asked", ["plan", "diff"])
def test_a_profile_that_nobody_named_and_that_is_not_there_is_told_by_its_file(project: Path, asked: str) -> None:
    (project / "specs/hardware/h100.yaml").unlink()
    with pytest.raises(UserError, match=r"^specs/hardware/h100.yaml: not there; scale paper, on device cuda") as caught:
        print_plan((), None, None, False, False) if asked == "plan" else print_diff(
            "HEAD", None, None, None, False, False
        )
    assert "found" not in str(caught.value)


def test_a_project_without_a_scale_called_mini_is_checked(project: Path) -> None:
    mini = project / "specs/scales/mini.yaml"
    mini.rename(mini.with_name("tiny.yaml"))
    edit(project, "scales/tiny.yaml", "scale: mini", "scale: tiny")
    assert run_checks(None, as_json=True) == 0
