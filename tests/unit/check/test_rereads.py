"""A stretch of a corpus that is read again after `data: restart` is declared (I-18)."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.check.findings import Finding, unwaived
from stages.check.notices.orders import the_same
from stages.check.run import run
from stages.spec.project import Project
from tests.edits import replaced
from tests.unit.spec import small_project

RESTART = ("toy/second.yaml", "data: continue", "data: restart")
DECLARED = ("toy/second.yaml", "data: continue", "data: restart\n  reread: a second pass over 2B tokens")
OTHER = "  second_web:\n    sources:\n      - {corpus: library, share: 100%, group: text}\nsources:"
MORE = "corpora:\n  library: {kind: text, citation: somewhere, stand_in: prose}\n"
ELSEWHERE = (
    ("data/published.yaml", "corpora:\n", MORE),
    ("data/mixtures.yaml", "sources:\n  - {covers", OTHER + "\n  - {covers"),
    ("toy/second.yaml", "data: web", "data: second_web"),
)


def toy(folder: Path, *edits: tuple[str, str, str], scale: str = "paper") -> list[Finding]:
    small_project.write(folder)
    for edit in edits:
        small_project.edit(folder, *edit)
    found = unwaived(run(Project.load(folder), scale, {"I-18"}))
    return [one for one in found if one.stage.startswith("toy/")]


@pytest.mark.parametrize("scale", ["mini", "paper"])
def test_a_restart_that_reads_again_is_a_finding_at_its_line(tmp_path: Path, scale: str) -> None:
    (finding,) = toy(tmp_path, RESTART, scale=scale)
    assert (finding.stage, finding.edge) == ("toy/second", "toy/first -> toy/second")
    assert finding.where is not None
    assert (tmp_path / finding.where.file).read_text().splitlines()[finding.where.line - 1] == "  data: restart"
    assert "(books, repos too), after toy/first: 2 epochs along the lineage, of which" in finding.observed


def test_the_epochs_of_all_count(tmp_path: Path) -> None:
    first = ("toy/first.yaml", "budget: 1B\n    context: 8Ki\n    batch: 64 seq\n    micro_batch: 1 seq\n    epochs: 1",
             "budget: 1B\n    context: 8Ki\n    batch: 64 seq\n    micro_batch: 1 seq\n    epochs: 3")  # fmt: skip
    second = ("toy/second.yaml", "epochs: 1", "epochs: 2")
    (finding,) = toy(tmp_path, RESTART, first, second)
    assert "3 epochs along the lineage, of which the phase declares 2" in finding.observed


@pytest.mark.parametrize(
    ("edits", "told"),
    [
        ((), True),
        ((("toy/second.yaml", "optimizer: adamw", "optimizer: adamw\nseed: 77"),), False),
        (
            (("toy/first.yaml", "budget: 1B\n    context: 4Ki", "budget: 2B\n    context: 4Ki"),),
            False,
        ),  # a longer stretch
        ((("toy/second.yaml", "context: 4Ki", "context: 8Ki"),), False),  # other rows
    ],
)
def test_a_second_reading_in_the_order_of_the_first_is_a_notice(
    tmp_path: Path, edits: tuple[tuple[str, str, str], ...], told: bool
) -> None:
    small_project.write(tmp_path)
    short = (
        "toy/second.yaml",
        "budget: 2B\n    context: 8Ki",
        "budget: 1B\n    context: 4Ki",
    )  # as the first's first phase
    for edit in (DECLARED, short, *edits):
        small_project.edit(tmp_path, *edit)
    found = list(the_same(Project.load(tmp_path), "paper"))
    assert [one.partition(": ")[2] for one in found] == [
        "second reads what toy/first has read in the same order, since both have the same seed; `seed: ...` in one of "
        "them gives it another."
    ] * told


@pytest.mark.parametrize("scale", ["mini", "paper"])
def test_a_declared_one_is_quiet(tmp_path: Path, scale: str) -> None:
    assert toy(tmp_path, DECLARED, scale=scale) == []


@pytest.mark.parametrize("scale", ["mini", "paper"])
def test_a_restart_on_other_corpora_is_quiet_even_where_one_stand_in_takes_the_place_of_both(
    tmp_path: Path, scale: str
) -> None:
    assert toy(tmp_path, RESTART, *ELSEWHERE, scale=scale) == []


def test_a_stage_that_continues_after_a_restart_reads_on_from_the_farthest(tmp_path: Path) -> None:
    """The second stage restarts on other corpora, the third goes on with those of the first."""
    small_project.write(tmp_path)
    for edit in (RESTART, *ELSEWHERE):
        small_project.edit(tmp_path, *edit)
    third = replaced(small_project.FILES["toy/second.yaml"], "stage: second", "stage: third")
    third = replaced(third, "from: first", "from: second", "schedule: main", "schedule: other")
    (tmp_path / "specs/toy/third.yaml").write_text(replaced(third, "clock: continue", "clock: reset"))
    small_project.edit(tmp_path, "toy/pipeline.yaml", "stages: [first, second,", "stages: [first, second, third,")
    found = unwaived(run(Project.load(tmp_path), "paper", {"I-18"}))
    assert [one for one in found if one.stage.startswith("toy/")] == []


def test_a_declaration_moves_no_key(tmp_path: Path) -> None:
    keys = []
    for folder, edit in ((tmp_path / "a", RESTART), (tmp_path / "b", DECLARED)):
        small_project.write(folder)
        small_project.edit(folder, *edit)
        keys.append(Project.load(folder).resolve("toy", "paper").keys)
    assert keys[0] == keys[1]
