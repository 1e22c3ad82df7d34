"""The command: what it prints, its exit codes, and that docs/audit.md says what there is."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from stages.audit.finding import KINDS
from stages.commands.audit import audit
from stages.errors import UserError
from tests.edits import edit
from tests.unit.audit.planted import SOUND

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def recipes(tmp_path: Path) -> Path:
    """Two runs, of which the second ends its decay 300 steps before itself."""
    shutil.copytree(SOUND / "megatron_finetune", tmp_path / "recipes")
    file = tmp_path / "recipes/anneal.sh"
    edit(file, "--lr-warmup-fraction 0.01", "--lr-decay-iters 900")
    return tmp_path / "recipes"


def test_a_finding_is_printed_with_its_place_its_cost_and_how_sure_it_is(
    recipes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audit([recipes], as_json=False, markdown=False) == 1
    said = capsys.readouterr().out
    assert said.startswith("anneal.sh:24: I-03 The decay ends before the run does [decay-early]\n")
    assert "300 steps train nothing; 629,145,600 tokens, 2 GPU-hours (H100 at 40%)" in said
    assert "certain from the text" in said
    example = re.search(r"```text\n(.*?)```", (ROOT / "docs/audit.md").read_text(), re.DOTALL)
    assert example is not None
    assert said.startswith(example[1])


def test_as_json_it_has_figures_hand_overs_and_findings(recipes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert audit([recipes], as_json=True, markdown=False) == 1
    said = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in said["stages"]] == ["pretrain.sh", "anneal.sh"], "parents come first"
    assert said["edges"] == [{"parent": "pretrain.sh", "child": "anneal.sh", "step": None}]
    assert said["stages"][0]["figures"]["batch"] == {
        "value": 512, "file": "pretrain.sh", "line": 24, "key": "--global-batch-size", "unknown": None, "default": None,
        "derived": False,
    }  # fmt: skip
    assert [one["kind"] for one in said["findings"]] == ["decay-early"]


def test_as_markdown_it_is_a_table(recipes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert audit([recipes], as_json=False, markdown=True) == 1
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 3
    assert {row.count(" | ") for row in rows} == {5}
    assert rows[2].startswith(
        "| anneal.sh:24 | I-03 The decay ends before the run does | the rate is 0 from step 900 on |"
    )


def test_a_sound_recipe_ends_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert audit([SOUND / "arguments_json"], as_json=False, markdown=False) == 0
    assert capsys.readouterr().out == "1 run, 0 hand-overs between them: 0 findings (0 certain from the text)\n"


def test_what_is_no_recipe_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file or folder"):
        audit([tmp_path / "nowhere"], as_json=False, markdown=False)
    (tmp_path / "notes.yaml").write_text("shopping: [milk]\n")
    with pytest.raises(UserError, match="No recipe was found"):
        audit([tmp_path], as_json=False, markdown=False)


def test_the_page_lists_every_kind() -> None:
    listed = re.findall(r"^- ([IS]-\d\d): (.*)$", (ROOT / "docs/audit.md").read_text(), re.MULTILINE)
    kinds = {(kind, invariant) for invariant, line in listed for kind in re.findall(r"`([a-z-]+)`", line)}
    assert kinds == {(one.id, one.invariant) for one in KINDS.values()}
