"""Every piece of a schedule does something (I-36)."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.check.findings import Finding, unwaived
from stages.check.run import run
from stages.spec.project import Project
from tests.edits import edit, replaced
from tests.mutants.mutant import Edited
from tests.unit.spec import small_project

WARM_UP = "    - {shape: linear, from: 0, to: 1e-3, for: 100 steps}\n"
REST = "    - {shape: cosine, to: 1e-4, until: 4B}\n"


def toy(folder: Path, pieces: str, *edits: tuple[str, str, str], scale: str = "paper") -> list[Finding]:
    """Findings about the small project with another schedule."""
    small_project.write(folder)
    for file, old, new in (("toy/pipeline.yaml", WARM_UP + REST, pieces), *edits):
        small_project.edit(folder, file, old, new)
    return unwaived(run(Project.load(folder), scale, {"I-36"}))


@pytest.mark.parametrize("scale", ["mini", "paper"])
def test_a_warm_up_shorter_than_a_step_is_seen_at_every_scale(tmp_path: Path, scale: str) -> None:
    (finding,) = toy(tmp_path, replaced(WARM_UP, "100 steps", "100K") + REST, scale=scale)
    assert finding.stage == "toy/first"
    assert finding.where is not None
    assert (tmp_path / finding.where.file).read_text().splitlines()[finding.where.line - 1].endswith("for: 100K}")
    assert "the piece ends at 100,000, the step at 262,144" in finding.observed


def test_a_piece_of_exactly_one_step_is_long_enough(tmp_path: Path) -> None:
    assert toy(tmp_path, replaced(WARM_UP, "100 steps", "1 steps") + REST) == []


def test_a_piece_that_ends_between_two_steps_of_a_later_stage_is_long_enough(tmp_path: Path) -> None:
    """What is left of it in the second stage is shorter than a step; the piece as a whole is not."""
    found = toy(tmp_path, replaced(WARM_UP, "100 steps", "2_000_000_100") + REST)
    assert [one.observed for one in found] == ["a warm-up of 50% of its schedule"]


def test_a_piece_shorter_than_a_step_may_not_lie_in_the_middle(tmp_path: Path) -> None:
    middle = "    - {shape: linear, to: 5e-4, for: 1000}\n"
    (finding,) = toy(tmp_path, WARM_UP + middle + REST)
    assert "a linear piece of 1,000 tokens" in finding.observed


@pytest.mark.parametrize(
    ("pieces", "found"),
    [
        (WARM_UP + replaced(REST, "1e-4", "1e-3"), "a cosine piece from 0.001 to 0.001"),
        (replaced(WARM_UP, "from: 0", "from: 1e-3") + REST, "a linear piece from 0.001 to 0.001"),
        (WARM_UP + replaced(REST, "1e-4", "1e-2"), "which ends the schedule"),
        (WARM_UP + replaced(REST, "1e-4", "1e-2", "cosine", "1-sqrt"), "a 1-sqrt piece from 0.001 to 0.01, which"),
        (WARM_UP + replaced(REST, "1e-4", "1e-3", "cosine", "exponential"), "an exponential piece from 0.001 to"),
        (replaced(WARM_UP, "1e-3", "1e3") + REST, "a learning rate of 1000"),
        (replaced(WARM_UP, "1e-3", "1e-13") + replaced(REST, "1e-4", "1e-14"), "from 0 to 1e-13"),
    ],
)
def test_what_a_slip_makes_of_a_piece_is_a_finding(tmp_path: Path, pieces: str, found: str) -> None:
    findings = toy(tmp_path, pieces)
    assert found in findings[0].observed
    assert {one.stage for one in findings} <= {"toy/first", "toy/second"}


@pytest.mark.parametrize(
    "pieces",
    [
        replaced(WARM_UP, "linear", "cosine") + REST,
        WARM_UP + replaced(REST, "1e-4", "0"),
        WARM_UP + replaced(REST, "cosine", "inverse_sqrt"),
        WARM_UP + replaced(REST, "cosine", "power, exponent: 0.51"),
        replaced(WARM_UP, "linear, from: 0", "exponential, from: 1e-6")
        + replaced(REST, "1e-4", "0", "cosine", "1-sqrt"),
        WARM_UP + "    - {shape: constant, until: 4B}\n",
        WARM_UP + "    - {shape: linear, to: 2e-3, until: 4B}\n",
    ],
    ids=[
        "cosine warm-up",
        "decay to zero",
        "inverse root",
        "power",
        "exponential, then 1-sqrt",
        "constant",
        "a schedule that only warms up",
    ],
)
def test_shapes_in_use_are_quiet(tmp_path: Path, pieces: str) -> None:
    assert toy(tmp_path, pieces) == []


def test_a_warm_up_may_find_its_peak_reached(tmp_path: Path) -> None:
    """One of several fine-tunings has the rate at which the parent ended."""
    old = "{shape: constant, from: current, until: 4B}"
    new = "{shape: linear, from: current, to: 5.5e-4, for: 100M}\n    - {shape: cosine, to: 1e-5, until: 2B}"
    other = ("toy/pipeline.yaml", old, new)
    edits = [
        ("toy/second.yaml", "clock: continue", "clock: reset"),
        ("toy/second.yaml", "schedule: main", "schedule: other"),
    ]
    half = replaced(WARM_UP, "1e-3", "5.5e-4") + "    - {shape: constant, until: 4B}\n"
    assert toy(tmp_path, half, other, *edits) == []


@pytest.mark.parametrize("shape", ["cosine", "1-sqrt", "linear"])
def test_a_decay_that_has_ended_above_is_inert_though_another_lineage_reads_it(tmp_path: Path, shape: str) -> None:
    """Two branches read one decay: the second was meant to start where the first did, and starts from its end."""
    small_project.write(tmp_path)
    second = tmp_path / "specs/toy/second.yaml"
    edit(second, "inherit\n  clock: continue", "inherit\n  clock: reset", "schedule: main", "schedule: other")
    branch = replaced(second.read_text(), "stage: second", "stage: branch", "from: first", "from: second")
    (second.parent / "branch.yaml").write_text(branch)
    decay = f"{{shape: {shape}, from: current, to: 1e-4, until: 2B}}"
    other = (
        "{shape: constant, from: current, until: 4B}",
        decay,
        "stages: [first, second,",
        "stages: [first, branch, second,",
    )
    edit(tmp_path / "specs/toy/pipeline.yaml", *other)
    constant = WARM_UP + "    - {shape: constant, until: 2B}\n"
    edit(tmp_path / "specs/toy/pipeline.yaml", WARM_UP + REST, constant)
    found = unwaived(run(Project.load(tmp_path), "paper", {"I-36"}))
    assert {(one.stage, one.observed) for one in found if one.stage.startswith("toy/")} == {
        ("toy/branch", f"a {shape} piece from 0.0001 to 0.0001")
    }


def test_the_scales_factor_counts_and_is_what_to_mend(tmp_path: Path) -> None:
    edit = ("scales/mini.yaml", "lr: 10\n", "lr: 1000\n")
    (finding,) = toy(tmp_path / "mini", WARM_UP + REST, edit, scale="mini")
    assert finding.where is not None
    assert finding.where.file == "specs/scales/mini.yaml"
    assert finding.observed == "a learning rate of 1, 0.001 as it is written"
    assert toy(tmp_path / "paper", WARM_UP + REST, edit) == []


def test_it_is_a_finding_of_every_lineage_that_reads_the_piece(tmp_path: Path) -> None:
    """Each of them is not to be started: the published stage and the variant's own."""
    edited = Edited("llama31_1m/pipeline.yaml", "to: 2e-6, until: 1B", "to: 2e-5, until: 1B").project(tmp_path)
    found = unwaived(run(edited, "paper", {"I-36"}))
    assert [one.stage for one in found] == ["llama31_1m/sft_32k", "llama31_1m_seed001/sft_32k"]
    assert len({one.where for one in found}) == 1


def test_a_budget_below_one_step_is_a_finding_at_full_size(tmp_path: Path) -> None:
    edited = Edited("llama31_1m/sft_256k.yaml", r"budget: 0\.5B", "budget: 0.5M").project(tmp_path)
    found = unwaived(run(edited, "paper", {"I-07"}))
    assert found[0].observed == "a budget of 500,000 tokens"
    assert found[0].expected == "at least one step, 4,194,304"
