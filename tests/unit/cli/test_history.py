"""`stages history` and `stages compare P/S@...`: every result of a stage that is there, and how one is named."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from stages.commands.compare import folder
from stages.commands.history import print_history
from stages.errors import UsageError, UserError
from stages.spec.project import Project
from stages.store import json_file, manifest
from stages.store.layout import Layout
from tests.faults import finished_project
from tests.unit.spec import small_project

REF, EARLIER = "toy/first", "ab" * 16


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A finished project, which is the working directory; its first stage has an earlier result, by another key."""
    made = finished_project.make(tmp_path)
    monkeypatch.chdir(tmp_path)
    aside(made, EARLIER, 5e8)
    return made


def aside(layout: Layout, key: str, finished: float) -> Path:
    """A copy of the result in place under another key, with the moment at which it was finished."""
    where = layout.run(key) / "final"
    shutil.copytree(layout.stage(REF), where)
    for name, change in ((manifest.NAME, {"key": key}), ("run.json", {"finished": finished})):
        json_file.write(where / name, json.loads((where / name).read_text()) | change)
    return where


def shown(capsys: pytest.CaptureFixture[str], named: str = REF) -> list[dict[str, object]]:
    print_history(named, "mini", True)
    found: list[dict[str, object]] = json.loads(capsys.readouterr().out)
    return found


def test_the_latest_comes_first_and_each_says_where_it_is(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    key = Project.load(layout.root).keys("mini")[REF]
    assert shown(capsys) == [
        {"key": key, "state": "in place", "finished": 1e9, "folder": f"results/mini/{REF}"},
        {"key": EARLIER, "state": "earlier", "finished": 5e8, "folder": f"results/.runs/{EARLIER}/final"},
    ]
    print_history(REF, "mini", False)
    said = capsys.readouterr().out
    assert f"`stages compare {REF}@{EARLIER[:12]} {REF} --scale mini` says what differs" in said
    assert "2.500 → 2.500" in said, "the training loss of both"


def test_another_stages_results_and_those_of_another_scale_are_left_out(
    layout: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    other = aside(layout, "cd" * 16, 7e8)
    stage = json.loads((other / "stage.json").read_text())
    json_file.write(other / "stage.json", stage | {"scale": "small"})
    assert len(shown(capsys)) == 2
    assert [one["state"] for one in shown(capsys, "toy/second")] == ["in place"]


def test_a_stage_that_a_variant_shares_is_the_extended_pipelines(
    layout: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(shown(capsys, "toy_variant/first")) == 2
    with pytest.raises(UserError, match="toy_variant/second: no result at scale mini, now or earlier"):
        print_history("toy_variant/second", "mini", False)


def test_a_result_that_cannot_be_read_is_a_row_of_its_own(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    (layout.run(EARLIER) / "final/metrics.csv").write_text("nonsense")
    print_history(REF, "mini", False)
    assert "cannot be read" in capsys.readouterr().out


def test_the_first_digits_of_a_key_name_a_result(layout: Layout) -> None:
    assert folder(f"{REF}@{EARLIER[:6]}", "mini") == layout.run(EARLIER) / "final"
    aside(layout, f"{EARLIER[:-1]}c", 6e8)
    with pytest.raises(UsageError, match="several results begin so; write more digits"):
        folder(f"{REF}@{EARLIER[:6]}", "mini")
    assert folder(f"{REF}@{EARLIER}", "mini") == layout.run(EARLIER) / "final"


def test_a_revision_names_the_result_of_the_key_that_its_specs_give(layout: Layout) -> None:
    root = layout.root
    git(root, "init", "-q")
    git(root, "add", "specs")
    git(root, "commit", "-qm", "before")
    small_project.edit(root, "toy/first.yaml", "base: 10_000", "base: 20_000")
    assert folder(f"{REF}@HEAD", "mini") == layout.stage(REF), "by its key, wherever it is"
    git(root, "commit", "-qam", "after")
    with pytest.raises(UsageError, match=r"its key there is [0-9a-f]{12}, of which there is no result"):
        folder(f"{REF}@HEAD", "mini")
    assert folder(f"{REF}@HEAD~1", "mini") == layout.stage(REF)


def git(root: Path, *words: str) -> None:
    subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *words], cwd=root, check=True, capture_output=True
    )
