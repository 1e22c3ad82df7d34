"""A named schedule is read to its end (I-03): what authors write, through the specs' files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stages.check.findings import Finding, unwaived
from stages.check.run import run
from stages.spec.project import Project
from tests.edits import replaced
from tests.mutants.mutant import ROOT, Edited
from tests.unit.check.reported import line
from tests.unit.spec import small_project

MAIN = "    - {shape: linear, from: 0, to: 1e-3, for: 100 steps}\n    - {shape: cosine, to: 1e-4, until: 4B}\n"
WSD = (
    "    - {shape: linear, from: 0, to: 1e-3, for: 100 steps}\n"
    "    - {shape: constant, until: 2B}\n"
    "    - {shape: linear, to: 1e-4, for: 2B}\n"
)


def shipped(folder: Path, file: str, old: str, new: str, scale: str = "paper") -> list[Finding]:
    return unwaived(run(Edited(file, old, new).project(folder), scale, {"I-03"}))


def toy(folder: Path, *edits: tuple[str, str, str], scale: str = "paper") -> list[Finding]:
    """The small project without its variant, which is one budget short, with some texts replaced."""
    small_project.write(folder)
    for path in (folder / "specs" / "toy_variant").iterdir():
        path.unlink()
    (folder / "specs" / "toy_variant").rmdir()
    for file, old, new in edits:
        small_project.edit(folder, file, old, new)
    return unwaived(run(Project.load(folder), scale, {"I-03"}))


STEPS = (
    "    - {shape: linear, from: 0, to: 1e-3, for: 100 steps}\n"
    "    - {shape: cosine, to: 1e-4, until: 2.5B}\n"
    "    - {shape: constant, until: 3B}\n"
)


@pytest.mark.parametrize(
    ("last", "found"),
    [
        ("constant, from: 5e-5, until: 4B, jump: published", []),  # arXiv 2412.19437, section 4.2
        ("linear, to: 5e-5, until: 4B", []),
        ("constant, until: 4B", ["the rate stays at 0.0001 from 2,500,000,000 to 3,000,000,000"]),
    ],
)
def test_a_rate_that_is_held_and_then_lowered_is_no_floor(tmp_path: Path, last: str, found: list[str]) -> None:
    edit = ("toy/pipeline.yaml", MAIN, f"{STEPS}    - {{shape: {last}}}\n")
    assert [one.observed for one in toy(tmp_path, edit)] == found


def test_a_rate_that_a_later_stage_lowers_is_no_floor(tmp_path: Path) -> None:
    """An extension of two stages that begins by coming down to its rate: the first stage ends at that rate."""
    pieces = (
        "    - {shape: linear, from: 1e-3, to: 5e-4, for: 100 steps}\n"
        "    - {shape: constant, until: 3B}\n"
        "    - {shape: cosine, to: 1e-4, until: 4B}\n"
    )
    assert toy(tmp_path, ("toy/pipeline.yaml", MAIN, pieces)) == []


def test_a_budget_halved_names_both_rates_both_ends_and_both_lines(tmp_path: Path) -> None:
    found = shipped(tmp_path, "llama31_1m/sft_32k.yaml", "budget: 1B", "budget: 0.5B")
    assert [one.stage for one in found] == ["llama31_1m/sft_32k", "llama31_1m_seed001/sft_32k"]
    assert line(found[0]) == "budget: 1B"
    assert "ends at 500,000,000 tokens" in found[0].observed
    assert "1.17432e-05, inside a cosine piece that ends at 1,000,000,000" in found[0].observed
    assert found[0].expected == "the schedule's end, 1,000,000,000 tokens, at a rate of 2e-06"
    (number,) = re.findall(r"\(specs/llama31_1m/pipeline\.yaml:(\d+)\)", found[0].repair)
    pieces = (ROOT / "specs/llama31_1m/pipeline.yaml").read_text().splitlines()
    assert pieces[int(number) - 1].strip() == "- {shape: cosine, to: 2e-6, until: 1B}"


@pytest.mark.parametrize(
    ("file", "old", "new", "meant"),
    [
        ("llama31_1m/pipeline.yaml", r"until: 15B\}", "for: 15B}", "until: 15B"),
        ("llama31_1m/pipeline.yaml", "to: 2e-6, until: 1B", "to: 2e-6, for: 1B", "until: 1B"),
        ("llama31_1m/pipeline.yaml", r"for: 12\.5M", "for: 12.5B", "for: 12.5M"),
        ("ouro/longct_1_4b.yaml", "budget: 20B", "budget: 2B", "budget: 20B"),
    ],
)
def test_a_usual_slip_is_named_at_its_line(tmp_path: Path, file: str, old: str, new: str, meant: str) -> None:
    finding, *_ = shipped(tmp_path, file, old, new)
    assert finding.where is not None
    assert finding.where.file == f"specs/{file}"
    assert new.rstrip("}") in line(finding, tmp_path)
    assert finding.repair.startswith(f"With `{meant}` they end together")


def test_a_difference_that_a_budget_explains_as_well_is_not_laid_on_the_schedule(tmp_path: Path) -> None:
    """A tenth of the budget and ten times the horizon look alike."""
    finding, *_ = shipped(tmp_path, "llama31_1m/sft_32k.yaml", "budget: 1B", "budget: 0.1B")
    assert line(finding) == "budget: 1B"


def test_budgets_that_add_up_to_what_is_published_are_not_at_fault(tmp_path: Path) -> None:
    finding, *_ = shipped(tmp_path, "kimi_vl/pipeline.yaml", r"to: 2e-5, until: 2\.0T", "to: 2e-5, until: 3.0T")
    assert line(finding) == "- {shape: cosine, to: 2e-5, until: 2.0T}"
    assert re.search(r"the budgets \(specs/kimi_vl/vit_coca\.yaml:\d+\) add up to what is published", finding.repair)


def test_it_is_seen_at_every_scale(tmp_path: Path) -> None:
    edit = ("llama31_1m/sft_32k.yaml", "budget: 1B", "budget: 0.5B")
    assert len(shipped(tmp_path / "mini", *edit, scale="mini")) == len(shipped(tmp_path / "paper", *edit)) == 2


def test_a_skipped_parent_names_the_lineage_and_what_it_never_reads(tmp_path: Path) -> None:
    found = shipped(tmp_path, "llama31_1m/cpt_1m.yaml", "from: cpt_512k", "from: cpt_256k")
    assert {one.stage: one.observed.split(" ends at ")[0] for one in found} == {
        "llama31_1m/cpt_512k": "cpt_256k (12,000,000,000) -> cpt_512k (3,000,000,000)",
        "llama31_1m/cpt_1m": "cpt_256k (12,000,000,000) -> cpt_1m (1,800,000,000)",
    }
    assert all("1 piece after it never read" in one.observed for one in found)


def test_a_stand_ins_schedule_is_read_to_its_end_too(tmp_path: Path) -> None:
    edit = ("llama31_1m/base.yaml", "budget: 15T", "budget: 14T")
    (finding,) = shipped(tmp_path / "mini", *edit, scale="mini")
    assert line(finding) == "budget: 15T"
    assert shipped(tmp_path / "paper", *edit) == [], "a released model is not trained there"


def test_one_lineage_of_a_fork_may_not_stop_early(tmp_path: Path) -> None:
    (finding,) = (
        one
        for one in shipped(tmp_path, "ouro/midtrain_2_6b.yaml", "budget: 300B", "budget: 30B")
        if not one.stage.startswith("ouro_seed003")
    )
    assert finding.stage == "ouro/midtrain_2_6b"


def test_the_end_is_not_said_where_pieces_count_steps(tmp_path: Path) -> None:
    piece = "    - {shape: linear, to: 1e-4, for: 10 steps}\n"
    (finding,) = toy(tmp_path, ("toy/pipeline.yaml", MAIN, MAIN + piece))
    assert finding.expected == "the schedule's end, the end of its last piece, at a rate of 0.0001"


def test_an_end_before_the_warm_ups_own_is_not_the_schedules(tmp_path: Path) -> None:
    found = shipped(tmp_path, "llama31_1m/pipeline.yaml", r"for: 12\.5M", "for: 12.5B")
    assert found[0].expected == "the schedule's end, 12,500,000,000 tokens, at a rate of 1e-06"


def test_a_constant_last_piece_may_be_cut(tmp_path: Path) -> None:
    constant = "    - {shape: linear, from: 0, to: 1e-3, for: 100 steps}\n    - {shape: constant, until: 9B}\n"
    assert toy(tmp_path, ("toy/pipeline.yaml", MAIN, constant)) == []


def test_a_constant_piece_with_a_decay_after_it_may_not(tmp_path: Path) -> None:
    assert toy(tmp_path / "whole", ("toy/pipeline.yaml", MAIN, WSD)) == []
    short = ("toy/second.yaml", "budget: 2B", "budget: 1B")
    longer = replaced(WSD, "until: 2B", "until: 3.5B")
    (finding,) = toy(tmp_path / "cut", ("toy/pipeline.yaml", MAIN, longer), short)
    assert "at a learning rate of 0.001; 1 piece after it never read" in finding.observed


def branched(folder: Path, pieces: str) -> list[Finding]:
    """I-03 and I-04 of the small project with a stage more, which leaves the first's schedule for one of its own."""
    branch = replaced(small_project.FILES["toy/second.yaml"], "stage: second", "stage: branch")
    branch = replaced(branch, "clock: continue", "clock: reset", "schedule: main", "schedule: other")
    small_project.write(folder)
    small_project.edit(folder, "toy/pipeline.yaml", MAIN, pieces)
    small_project.edit(folder, "toy/pipeline.yaml", "second, release]", "second, branch, release]")
    (folder / "specs" / "toy" / "branch.yaml").write_text(branch)
    found = unwaived(run(Project.load(folder), "paper", {"I-03", "I-04"}))
    return [one for one in found if one.stage.startswith("toy/")]


def test_a_branch_may_leave_a_constant_rate_that_the_trunk_goes_on_with(tmp_path: Path) -> None:
    assert branched(tmp_path, replaced(WSD, "until: 2B", "until: 3B", "for: 2B", "for: 1B")) == []


def test_a_branch_may_leave_between_two_pieces(tmp_path: Path) -> None:
    assert (
        branched(tmp_path, replaced(MAIN, "until: 4B", "until: 2B") + "    - {shape: linear, to: 0, until: 4B}\n") == []
    )


def test_a_branch_may_not_leave_in_the_middle_of_a_decay(tmp_path: Path) -> None:
    (finding,) = branched(tmp_path, MAIN)
    assert (finding.id, finding.stage, finding.edge) == ("I-04", "toy/branch", "toy/first -> toy/branch")
    assert "inside a cosine piece of which toy/first has read 2,000,000,000 tokens" in finding.observed


def test_a_schedule_may_be_read_by_several_stages_each_from_its_own_start(tmp_path: Path) -> None:
    again = ("toy/second.yaml", "clock: continue", "clock: reset")
    rewarmed = replaced(MAIN, "from: 0,", "from: 0, jump: cycles,", "until: 4B", "until: 2B")
    assert toy(tmp_path, ("toy/pipeline.yaml", MAIN, rewarmed), again) == []


def test_a_reading_that_drops_the_last_stage_is_the_one_to_mend(tmp_path: Path) -> None:
    small_project.write(tmp_path)
    (tmp_path / "specs" / "toy_variant" / "second.yaml").unlink()
    small_project.edit(
        tmp_path, "toy_variant/pipeline.yaml", "extends: toy\n", "extends: toy\ndrop: [second, release]\n"
    )
    (finding,) = unwaived(run(Project.load(tmp_path), "paper", {"I-03"}))
    assert finding.stage == "toy_variant"
    assert "first (2,000,000,000) ends at 2,000,000,000" in finding.observed


def test_a_reading_that_shares_a_fault_does_not_repeat_it(tmp_path: Path) -> None:
    found = shipped(tmp_path, "kimi_vl/vit_coca.yaml", r"budget: 2\.0T", "budget: 1.9T")
    assert [one.stage for one in found] == ["kimi_vl/vit_coca"]
