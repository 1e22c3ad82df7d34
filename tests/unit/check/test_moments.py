"""A rate that goes on keeps the optimizer that it was reached with (I-39)."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.check.findings import unwaived
from stages.check.notices.batches import decayed
from stages.check.run import run
from stages.spec.project import Project
from tests import shipped
from tests.mutants import unshipped
from tests.unit.check.reported import of_all, only
from tests.unit.spec import small_project
from tests.unit.spec.small_project import edit

ANNEAL, LONG = "ouro/ct_anneal_1_4b.yaml", "ouro/longct_1_4b.yaml"


def found(root: Path, scale: str = "paper") -> list[tuple[str, str]]:
    told = unwaived(run(Project.load(root), scale, {"I-39"}))
    return [(str(one.where), one.observed) for one in only(told, "I-39") if one.stage.startswith(("ouro/", "d"))]


def test_fresh_moments_at_the_rate_that_the_parent_ended_with(tmp_path: Path) -> None:
    line = edit(shipped.copy(tmp_path), ANNEAL, "optimizer: inherit", "optimizer: reset")
    said = "llm: optimizer reset at a rate of 0.0003 where it begins at the parent's, by schedule 'anneal'"
    assert found(tmp_path) == [(f"specs/{ANNEAL}:{line}", f"{said}, which goes on without a warm-up")]


def test_fresh_moments_that_are_warmed_up_are_none(tmp_path: Path) -> None:
    edit(shipped.copy(tmp_path), ANNEAL, "optimizer: inherit", "optimizer: reset")
    old = "- {shape: cosine, from: current, to: 3e-5, for: 1.4T}"
    edit(tmp_path, "ouro/pipeline.yaml", old, "- {shape: linear, from: current, to: 3e-4, for: 10B}\n"
         "    - {shape: cosine, to: 3e-5, until: 1.4T}")  # fmt: skip
    assert found(tmp_path) == []


@pytest.mark.parametrize(("piece", "told"), [("constant", True), ("linear, to: 4e-5", False)])
def test_fresh_moments_where_a_running_clock_warms_up_are_none(tmp_path: Path, piece: str, told: bool) -> None:
    edit(
        shipped.copy(tmp_path), "ouro/pipeline.yaml", "- {shape: constant, for: 20B}", f"- {{shape: {piece}, for: 20B}}"
    )
    line = edit(tmp_path, LONG, "optimizer: inherit", "optimizer: reset")
    assert [where for where, _ in found(tmp_path)] == [f"specs/{LONG}:{line}"] * told


def test_fresh_moments_after_a_decay_are_none(tmp_path: Path) -> None:
    """The cooldown of the other project begins at half of its trunk's peak."""
    edit(unshipped.write(tmp_path), "dense/decay.yaml", "optimizer: reset", "optimizer: reset  # as it is")
    assert found(tmp_path, "full") == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("weight_decay: 0\n    decay: matrices", "weight_decay: 0.1\n    decay: all", "decay all after matrices"),
        (
            "beta2: 0.95\n    eps: 1e-8\n    weight_decay: 0\n",
            "beta2: 0.99\n    eps: 1e-8\n    weight_decay: 0\n",
            "beta2 0.99 after 0.95",
        ),
    ],
)
def test_another_optimizer_in_the_middle_of_a_schedule(tmp_path: Path, old: str, new: str, said: str) -> None:
    edit(shipped.copy(tmp_path), "ouro/pipeline.yaml", old, new)
    line = edit(tmp_path, LONG, "optimizer: adamw", "optimizer: adam_sft")
    assert (f"specs/{LONG}:{line}", f"{said}, on the clock of a schedule that goes on") in found(tmp_path)


def test_another_decay_in_the_middle_is_told_and_needs_no_waiver(tmp_path: Path) -> None:
    edit(shipped.copy(tmp_path), LONG, "optimizer: adamw", "optimizer: adam_sft")
    assert found(tmp_path) == []
    into, back = of_all(Project.load(tmp_path), decayed)
    assert "longct_1_4b trains with weight_decay 0, after 0.1 of ct_anneal_1_4b, whose clock goes on." in into
    assert "midtrain_1_4b trains with weight_decay 0.1, after 0 of longct_1_4b, whose clock goes on." in back


def test_another_clip_in_the_middle_moves_no_moment(tmp_path: Path) -> None:
    edit(shipped.copy(tmp_path), "ouro/pipeline.yaml", "weight_decay: 0\n    decay: matrices\n    clip: 1.0",
         "weight_decay: 0.1\n    decay: matrices\n    clip: 0.5")  # fmt: skip
    edit(tmp_path, LONG, "optimizer: adamw", "optimizer: adam_sft")
    assert found(tmp_path) == []


SETTINGS = "preference: {loss: dpo, beta: 0.1, answers: sum, turn_ends: masked, nll: 0}"


@pytest.mark.parametrize(("optimizer", "times"), [("inherit", 1), ("reset", 0)])
def test_preferences_begin_without_the_moments_of_another_loss(tmp_path: Path, optimizer: str, times: int) -> None:
    """I-15."""
    small_project.write(tmp_path)
    small_project.prefer(tmp_path, SETTINGS)
    line = edit(tmp_path, "toy/second.yaml", "optimizer: inherit", f"optimizer: {optimizer}")
    told = [one for one in only(run(Project.load(tmp_path), "paper"), "I-15") if one.stage == "toy/second"]
    said = "llm: preferences under the optimizer's state of toy/first, which has another loss"
    assert [(str(one.where), one.observed) for one in told] == [(f"specs/toy/second.yaml:{line}", said)] * times
