"""What phases leave of local corpora without need: ten times the epochs, rows shorter than the documents."""

from __future__ import annotations

from pathlib import Path

from stages.check.notices.repeats import left_out, lost, needless
from stages.spec.project import Project
from tests import shipped
from tests.mutants import unshipped
from tests.unit.spec.small_project import edit


def test_no_scale_that_is_shipped_leaves_so_much() -> None:
    project = shipped.project()
    assert [one for scale in project.scales() for tell in (needless, left_out) for one in tell(project, scale)] == []


def test_a_digit_more_is_told_with_what_would_do(tmp_path: Path) -> None:
    edit(shipped.copy(tmp_path), "scales/mini.yaml", "epochs: {vit_coca: 2}", "epochs: {vit_coca: 20}")
    (notice,) = needless(Project.load(tmp_path), "mini")
    assert "mini: kimi_vl/vit_coca reads a stretch of its corpora 20 times, where 1 epoch would do" in notice


def test_rows_shorter_than_half_of_the_conversations_are_told(tmp_path: Path) -> None:
    line = edit(unshipped.write(tmp_path), "tuned/tuning.yaml", "context: 128", "context: 64")
    (notice,) = left_out(Project.load(tmp_path), "local")
    assert notice.startswith(
        f"specs/tuned/tuning.yaml:{line}: local: tuned/tuning packs whole documents into rows of 64"
    )
    assert "53% of reasoning is in longer ones" in notice


def test_rows_shorter_than_documents_are_on_average_are_told_where_nobody_measured_them() -> None:
    reasoning = shipped.project().data.corpora["reasoning"]
    assert (
        lost(reasoning, 48) == "a document of reasoning has 64 tokens on average; longer ones than a row are not read"
    )
    assert lost(reasoning, 80) == ""
    assert lost(reasoning, 128) == ""
