"""Rates beside the model's past: a peak above its training, a warm-up that is most of a schedule (I-36)."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.check.findings import unwaived
from stages.check.run import run
from stages.spec.project import Project
from tests import shipped
from tests.unit.spec.small_project import edit

LLAMA, KIMI, OURO = (f"{name}/pipeline.yaml" for name in ("llama31_1m", "kimi_vl", "ouro"))


def found(root: Path) -> list[tuple[str, str]]:
    told = unwaived(run(Project.load(root), "paper", {"I-36"}))
    return list(dict.fromkeys((str(one.where), one.observed) for one in told if one.id == "I-36"))


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        (LLAMA, "to: 2e-5, for: 50M", "to: 2e-4, for: 50M", "0.0002 for llm, which was trained at 2e-05 at most"),
        (KIMI, "to: 1e-4, for: 100 steps", "to: 1e-3, for: 100 steps", "0.001 for llm, which was trained at 0.00042"),
        (OURO, "to: 2e-5, for: 2B", "to: 4e-4, for: 2B", "0.0004 for llm, which was trained at 0.0003 at most"),
    ],
)
def test_a_rate_above_all_that_the_model_was_trained_at(
    tmp_path: Path, file: str, old: str, new: str, said: str
) -> None:
    line = edit(shipped.copy(tmp_path), file, old, new)
    assert any(place == f"specs/{file}:{line}" and said in observed for place, observed in found(tmp_path))


def test_what_a_released_model_was_trained_at_is_not_known(tmp_path: Path) -> None:
    """ProLong fine-tunes at twice the rate of its extension."""
    edit(shipped.copy(tmp_path), LLAMA, "to: 2e-5, for: 50M", "to: 4e-5, for: 50M")
    assert found(tmp_path) == []


def test_modules_that_share_a_schedule_have_the_rates_of_the_one_that_had_the_highest(tmp_path: Path) -> None:
    """The projector has learned at 1e-4, the language model at 4.2e-4; both cool down by one schedule."""
    edit(shipped.copy(tmp_path), KIMI, "to: 1e-4, for: 100 steps", "to: 4e-4, for: 100 steps")
    assert found(tmp_path) == []


@pytest.mark.parametrize(("length", "told"), [("5B", False), ("6B", True)])
def test_a_warm_up_that_is_most_of_its_schedule(tmp_path: Path, length: str, told: bool) -> None:
    line = edit(shipped.copy(tmp_path), LLAMA, "for: 0.6B", f"for: {length}")
    said = [(f"specs/{LLAMA}:{line}", "a warm-up of 36% of its schedule")]
    assert found(tmp_path) == (said if told else [])
