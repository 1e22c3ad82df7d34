"""Padding is part of a budget: plans and `stages show` say how much, as it was measured."""

from __future__ import annotations

import json
import shutil
from fractions import Fraction
from pathlib import Path

import pytest

from stages.commands.plan import print_plan
from stages.commands.show import print_stages
from stages.plan.padding import padding
from stages.spec.project import Project
from tests.unit.plan.conftest import ROOT
from tests.unit.spec import small_project
from tests.unit.spec.small_project import edit
from tests.unit.spec.tuning import tuned


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small project, which is also the working directory."""
    monkeypatch.chdir(small_project.write(tmp_path))
    shutil.copytree(ROOT / "specs/hardware", tmp_path / "specs/hardware")
    return tmp_path


@pytest.fixture
def tuning(root: Path) -> Path:
    """469 rows of 128 tokens; 640 such rows hold 65,536 tokens, four fifths of their positions."""
    tuned(root, "60_000", longest=300, rows=640, tokens=65_536)
    return root


def shown(capsys: pytest.CaptureFixture[str]) -> str:
    print_stages("toy/first", "paper", as_json=False)
    return " ".join(capsys.readouterr().out.split())


def test_plan_and_show_say_how_much_is_padding(tuning: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_plan(("toy",), "paper", "h100", False, False)
    assert "padding, of the tokens above: first 20%" in capsys.readouterr().out
    print_plan(("toy",), "paper", "h100", False, True)
    assert json.loads(capsys.readouterr().out)[0]["stages"][0]["phases"][0]["padding"] == pytest.approx(0.2)
    assert "packed whole, 20% of the tokens padding" in shown(capsys)


def test_replayed_text_has_none(tuning: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(tuning, "data/mixtures.yaml", "share: 100%, group: text}", "share: 75%, group: text}\n"
         "      - {corpus: prose, share: 25%, group: text}")  # fmt: skip
    assert "packed whole, 15% of the tokens padding" in shown(capsys)


def test_what_nobody_measured_is_not_guessed(tuning: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(tuning, "data/chats.yaml", "  128: {rows: 640", "  256: {rows: 300")
    assert "packed whole, padding not measured" in shown(capsys)


def test_counts_that_another_tokenizer_made_say_nothing(tuning: Path) -> None:
    project = Project.load(tuning)
    stage = project.resolve("toy", "paper").stages["first"]
    other = stage.model_copy(update={"tokenizer": "f" * 64})
    assert padding(stage, stage.phases[0], project.data) == Fraction(1, 5)
    assert padding(other, stage.phases[0], project.data) is None


def test_windows_have_none(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "padding" not in shown(capsys)
