"""Branches of one box: a figure that both cite from one place is one figure (S-14); what else differs is reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.check.findings import unwaived
from stages.check.rules.siblings import differing
from stages.check.run import run
from stages.spec.project import Project
from tests import shipped
from tests.edits import replaced
from tests.unit.check.reported import of_all, only
from tests.unit.spec.small_project import edit

ONE, TWO = "ouro/longct_1_4b.yaml", "ouro/longct_2_6b.yaml"


def found(root: Path) -> list[tuple[str, str]]:
    told = unwaived(run(Project.load(root), "paper", {"S-14"}))
    return [(str(one.where), one.observed) for one in only(told, "S-14")]


def test_the_shipped_branches_agree() -> None:
    assert of_all(shipped.project(), differing) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("context: 64Ki", "context: 32Ki", "64Ki, where longct_1_4b (specs/ouro/longct_1_4b.yaml:{}), of the same box"),
        ("count: 4", "count: 8", "has 8 from the same place: arXiv 2510.25741 table 1"),
        ("base: 1_000_000", "base: 500_000", "1_000_000, where longct_1_4b"),
    ],
)
def test_two_figures_of_one_place_are_one_finding_that_names_both_lines(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    line = edit(shipped.copy(tmp_path), ONE, old, new)
    ((place, observed),) = found(tmp_path)
    assert said.format(line) in observed
    assert place.startswith(f"specs/{TWO}:"), "one waiver is enough"


def test_of_three_the_one_that_differs_is_at_fault(tmp_path: Path) -> None:
    text = (shipped.copy(tmp_path) / "specs" / ONE).read_text()
    (tmp_path / "specs/ouro/longct_again.yaml").write_text(replaced(text, "longct_1_4b", "longct_again"))
    edit(tmp_path, "ouro/pipeline.yaml", "  - longct_1_4b\n", "  - longct_1_4b\n  - longct_again\n")
    line = edit(tmp_path, TWO, "context: 64Ki", "context: 128Ki")
    assert [place for place, _ in found(tmp_path)] == [f"specs/{TWO}:{line}"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("budget: 20B\n", "budget: 20_000_000_000 tokens\n"),  # the same, written otherwise
        ("- {covers: [phases.main.budget, ", "- {covers: [phases.main.budget], mark: chosen}\n  - {covers: ["),
    ],
)
def test_the_same_quantity_and_a_source_of_its_own_are_no_finding(tmp_path: Path, old: str, new: str) -> None:
    edit(shipped.copy(tmp_path), ONE, old, new)
    assert found(tmp_path) == []


def test_a_citation_that_says_where_it_stands_is_another_place(tmp_path: Path) -> None:
    edit(shipped.copy(tmp_path), ONE, "context: 64Ki", "context: 32Ki")
    edit(tmp_path, ONE, "citation: arXiv 2510.25741 table 1}", 'citation: "arXiv 2510.25741 table 1, row 1.4B"}')
    assert found(tmp_path) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("data: ouro_long", "data: ouro_stage_2", "phases.0.data: ouro_long, there ouro_stage_2."),
        ("optimizer: inherit", "optimizer: reset", "init.optimizer: inherit, there reset."),
        ("schedule: anneal", "schedule: stable", "schedule: anneal, there stable."),
    ],
)
def test_what_no_source_gives_is_told(tmp_path: Path, old: str, new: str, said: str) -> None:
    edit(shipped.copy(tmp_path), ONE, old, new)
    (notice,) = of_all(Project.load(tmp_path), differing)
    assert f"longct_2_6b is of the same box as longct_1_4b, 'LongCT 20B Tokens', and differs in {said}" in notice


@pytest.mark.parametrize(
    "source", ["arXiv 2510.25741", "https://huggingface.co/ByteDance/Ouro-1.4B", "an internal report"]
)
def test_a_whole_document_is_no_place(tmp_path: Path, source: str) -> None:
    """It has figures for both branches; that they differ is reported."""
    shipped.copy(tmp_path)
    for file in (ONE, TWO):
        edit(tmp_path, file, "citation: arXiv 2510.25741 table 1", f"citation: {source}")
    edit(tmp_path, ONE, "context: 64Ki", "context: 32Ki")
    (notice,) = of_all(Project.load(tmp_path), differing)
    assert (found(tmp_path), "phases.0.context: 64Ki, there 32Ki." in notice) == ([], True)


def test_a_stage_that_follows_another_of_its_box_is_no_branch(tmp_path: Path) -> None:
    """An extension in two steps, both of one section of a paper."""
    text = (shipped.copy(tmp_path) / "specs" / ONE).read_text()
    longer = replaced(text, "longct_1_4b", "longct_again", "context: 64Ki", "context: 128Ki")
    (tmp_path / "specs/ouro/longct_again.yaml").write_text(replaced(longer, "ct_anneal_1_4b", "longct_1_4b"))
    edit(tmp_path, "ouro/pipeline.yaml", "  - longct_1_4b\n", "  - longct_1_4b\n  - longct_again\n")
    assert (found(tmp_path), of_all(Project.load(tmp_path), differing)) == ([], [])


def test_of_two_scales_the_larger_one_has_the_finding(tmp_path: Path) -> None:
    edit(shipped.copy(tmp_path), ONE, "context: 64Ki", "context: 32Ki")
    assert unwaived(run(Project.load(tmp_path), "mini", {"S-14"})) == []


def test_the_arms_of_a_sweep_are_one_file_and_no_branches(tmp_path: Path) -> None:
    """Each has the figure's citation, and a figure of its own."""
    file = "kimi_vl/joint_longctx.yaml"
    arms = "variants: {field: rope.base, values: {low: 400_000, high: 1_600_000}}\n"
    edit(shipped.copy(tmp_path), file, "modules:", f"{arms}modules:")
    edit(
        tmp_path, file, "sources:\n", "sources:\n  - {covers: [variants], mark: chosen, reason: which one is better}\n"
    )
    for claimed in ("stages: [vit_coca, vit_align, joint_pretrain", "[joint_pretrain"):
        stages = f"{claimed}, joint_cooldown, joint_longctx"
        edit(tmp_path, "kimi_vl/pipeline.yaml", f"{stages}]", f"{stages}_low]")
    assert (found(tmp_path), of_all(Project.load(tmp_path), differing)) == ([], [])


@pytest.mark.parametrize(("more", "lines"), [([], 3), ([("data: ouro_long", "data: ouro_stage_2")], 0)])
def test_what_differs_in_more_than_three_values_is_another_recipe(
    tmp_path: Path, more: list[tuple[str, str]], lines: int
) -> None:
    """With the fourth nothing is said: also not of the three that both cite from one place."""
    shipped.copy(tmp_path)
    three = [("context: 64Ki", "context: 32Ki"), ("batch: 128 seq", "batch: 256 seq"), ("count: 4", "count: 8")]
    for old, new in [*three, *more]:
        edit(tmp_path, ONE, old, new)
    assert (len(found(tmp_path)), of_all(Project.load(tmp_path), differing)) == (lines, [])
