"""Notices, which refuse nothing: a batch that changes where the clock goes on, a scale with two precisions."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.check.notices.batches import stepped
from stages.check.notices.run import two_precisions
from stages.spec.project import Project
from tests import shipped
from tests.unit.check.reported import of_all
from tests.unit.spec.small_project import edit

CPT, LONG = "llama31_1m/cpt_1m.yaml", "kimi_vl/joint_longctx.yaml"


def test_the_shipped_batches_go_on() -> None:
    assert of_all(shipped.project(), stepped) == []


def test_a_smaller_batch_on_a_running_clock(tmp_path: Path) -> None:
    line = edit(shipped.copy(tmp_path), CPT, "batch: 4 seq", "batch: 2 seq")
    said = "cpt_1m begins with 2,097,152 tokens a step, after 4,194,304 of its parent, where clock: continue."
    assert of_all(Project.load(tmp_path), stepped) == [f"specs/{CPT}:{line}: {said}"]


def test_a_ramp_the_wrong_way_round(tmp_path: Path) -> None:
    file = "kimi_vl/text_pretrain.yaml"
    line = edit(shipped.copy(tmp_path), file, "{after: 0, batch: 2048 seq}", "{after: 0, batch: 8192 seq}")
    said = "text_pretrain goes on with 33,554,432 tokens a step, after 67,108,864: its ramp falls."
    assert of_all(Project.load(tmp_path), stepped) == [f"specs/{file}:{line}: {said}"]


def test_longer_sequences_under_the_same_batch(tmp_path: Path) -> None:
    line = edit(shipped.copy(tmp_path), LONG, "batch: 256 seq", "batch: 1024 seq")
    said = "joint_longctx begins with 134,217,728 tokens a step, after 33,554,432 of phase 32k."
    assert of_all(Project.load(tmp_path), stepped) == [f"specs/{LONG}:{line}: {said}"]


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        (CPT, "batch: 4 seq", "batch: 8 seq"),  # ProLong doubles it between its stages
        ("llama31_1m/sft_1m.yaml", "batch: 4 seq", "batch: 1 seq"),  # its clock begins again
        ("llama31_1m/cpt_512k.yaml", "context: 512Ki", "context: 500Ki"),  # as many sequences as come nearest
    ],
)
def test_a_batch_that_doubles_or_has_a_clock_of_its_own(tmp_path: Path, file: str, old: str, new: str) -> None:
    edit(shipped.copy(tmp_path), file, old, new)
    assert of_all(Project.load(tmp_path), stepped) == []


def test_a_smaller_batch_where_the_same_schedule_begins_anew(tmp_path: Path) -> None:
    edit(shipped.copy(tmp_path), CPT, "clock: continue", "clock: reset")
    edit(tmp_path, CPT, "batch: 4 seq", "batch: 2 seq")
    assert of_all(Project.load(tmp_path), stepped) == []


def test_two_engines_in_two_precisions(tmp_path: Path) -> None:
    edit(shipped.copy(tmp_path), "scales/paper.yaml", "torch_class: torch-bf16", "torch_class: torch-fp32")
    project = Project.load(tmp_path)
    (said,) = two_precisions(project, "paper")
    assert said.startswith("paper: torch-fp32 beside nemo-bf16")
    assert [*two_precisions(project, "mini_nemo"), *two_precisions(project, "mini")] == []
