"""No false alarm: what a team changes for a run of its own, and changes rightly, has no finding at any scale."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stages.check.findings import unwaived
from stages.check.run import run_all
from stages.commands.new import create
from stages.spec.project import Project
from tests import shipped
from tests.edits import replaced
from tests.unit.check.variations import NEW, VARIATIONS, Edits


def edited(folder: Path, edits: Edits) -> Project:
    """The shipped specs in `folder` with some edits, each of which matches something."""
    shipped.copy(folder)
    for file, old, new in edits:
        path = folder / "specs" / file
        if old == NEW:
            assert not path.exists(), file
            path.parent.mkdir(exist_ok=True)
            path.write_text(new)
            continue
        text, times = re.subn(old, new, path.read_text(), flags=re.MULTILINE)
        assert times, f"{file} does not hold {old!r}"
        path.write_text(text)
    return Project.load(folder)


@pytest.mark.parametrize("name", VARIATIONS)
def test_a_legitimate_variation_has_no_finding(name: str, tmp_path: Path) -> None:
    project = edited(tmp_path, VARIATIONS[name])
    assert [str(one) for one in unwaived(run_all(project))] == []


def test_a_new_pipeline_with_a_changed_stage_has_no_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edited(tmp_path, [])
    monkeypatch.chdir(tmp_path)
    create("longer_sft", "llama31_1m")
    path = tmp_path / "specs/longer_sft/pipeline.yaml"
    head, _, _ = path.read_text().partition("# schedules:")
    path.write_text(
        head + "schedules:\n  sft_1m:\n    - {shape: linear, from: current, to: 1e-5, for: 25M}\n"
        "    - {shape: cosine, to: 1e-6, until: 0.5B}\nsources:\n  - {covers: [schedules], mark: chosen}\n"
    )
    stage = (tmp_path / "specs/llama31_1m/sft_1m.yaml").read_text()
    phases = replaced(stage[stage.index("phases:") : stage.index("evaluate:")], "0.25B", "0.5B")
    (path.parent / "sft_1m.yaml").write_text(
        f"stage: sft_1m\n{phases}sources:\n  - {{covers: [phases], mark: chosen}}\n"
    )
    project = Project.load(tmp_path)
    assert project.resolve("longer_sft", "paper").own == ("sft_1m", "instruct")
    assert [str(one) for one in unwaived(run_all(project))] == []
