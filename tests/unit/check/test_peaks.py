"""Rates beside the model's past: a peak above its training, a warm-up that is most of a schedule (I-36)."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.check.findings import unwaived
from stages.check.rules.peaks import long_warm_ups
from stages.check.run import run
from stages.spec.project import Project
from tests import shipped
from tests.edits import replaced
from tests.unit.check.reported import only
from tests.unit.spec import small_project
from tests.unit.spec.small_project import edit

LLAMA, KIMI, OURO = (f"{name}/pipeline.yaml" for name in ("llama31_1m", "kimi_vl", "ouro"))


def found(root: Path) -> list[tuple[str, str]]:
    told = unwaived(run(Project.load(root), "paper", {"I-36"}))
    return list(dict.fromkeys((str(one.where), one.observed) for one in only(told, "I-36")))


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        (LLAMA, "to: 2e-5, for: 50M", "to: 2e-4, for: 50M", "0.0002 for llm, which was trained at 2e-05 at most"),
        (KIMI, "to: 1e-4, for: 100 steps", "to: 1e-3, for: 100 steps", "0.001 for llm, which was trained at 0.00042"),
        (OURO, "to: 2e-5, for: 2B", "to: 7e-4, for: 2B", "0.0007 for llm, which was trained at 0.0003 at most"),
    ],
)
def test_a_rate_above_all_that_the_model_was_trained_at(
    tmp_path: Path, file: str, old: str, new: str, said: str
) -> None:
    line = edit(shipped.copy(tmp_path), file, old, new)
    assert any(place == f"specs/{file}:{line}" and said in observed for place, observed in found(tmp_path))


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        (LLAMA, "to: 2e-5, for: 50M", "to: 4e-5, for: 50M"),  # ProLong: twice the rate of its extension
        (LLAMA, "to: 2e-5, for: 50M", "to: 1e-4, for: 50M"),  # what the release was pre-trained at is not known
        (OURO, "to: 2e-5, for: 2B", "to: 6e-4, for: 2B"),  # arXiv 2308.04014: twice the rate of pre-training
    ],
)
def test_what_is_trained_further_may_be_warmed_up_to_a_higher_rate(
    tmp_path: Path, file: str, old: str, new: str
) -> None:
    edit(shipped.copy(tmp_path), file, old, new)
    assert found(tmp_path) == []


@pytest.mark.parametrize(("peak", "observed"), [("2e-4", []), ("3e-4", ["a learning rate of 0.0003 for preferences"])])
def test_preferences_are_not_trained_at_a_higher_rate_than_what_they_are_about(
    tmp_path: Path, peak: str, observed: list[str]
) -> None:
    """Pre-training at 1e-3, a stage at 1e-4, and pairs: recipes have the rate of fine-tuning, or a lower one."""
    small_project.write(tmp_path)
    reset = "optimizer: reset\n  clock: reset"
    edit(tmp_path, "toy/second.yaml", "optimizer: inherit\n  clock: continue", reset)
    between = (tmp_path / "specs/toy/second.yaml").read_text()
    (tmp_path / "specs/toy/tuned.yaml").write_text(
        replaced(between, "stage: second", "stage: tuned", "schedule: main", "schedule: tuned")
    )
    small_project.prefer(tmp_path, "preference: {loss: dpo, beta: 0.1, answers: sum, turn_ends: masked, nll: 0}")
    edit(tmp_path, "toy/second.yaml", "from: first", "from: tuned")
    edit(tmp_path, "toy/second.yaml", "schedule: main", "schedule: pairs")
    rise = "- {{shape: linear, from: 0, to: {}, for: 100M, jump: again}}\n    - {{shape: linear, to: 0, until: 2B}}\n"
    added = f"  tuned:\n    {rise.format('1e-4')}  pairs:\n    {rise.format(peak)}"
    edit(tmp_path, "toy/pipeline.yaml", "schedules:\n", f"schedules:\n{added}")
    edit(tmp_path, "toy/pipeline.yaml", "stages: [first, ", "stages: [first, tuned, ")
    said = [one.observed.partition(",")[0] for one in run(Project.load(tmp_path), "paper") if one.stage == "toy/second"]
    assert [one for one in said if "preferences" in one] == observed


def test_modules_that_share_a_schedule_have_the_rates_of_the_largest(tmp_path: Path) -> None:
    """The projector has learned at 1e-4, the language model at 4.2e-4; both cool down by one schedule."""
    edit(shipped.copy(tmp_path), KIMI, "to: 1e-4, for: 100 steps", "to: 4e-4, for: 100 steps")
    assert found(tmp_path) == []


def test_a_small_module_at_a_high_rate_excuses_no_large_one(tmp_path: Path) -> None:
    """A projector alone at 1e-3, as in LLaVA, before a joint stage in which the language model has 4.2e-5."""
    edit(shipped.copy(tmp_path), "kimi_vl/vit_align.yaml", "train: [vit, projector]", "train: [projector]")
    edit(tmp_path, "kimi_vl/vit_align.yaml", "frozen: [llm]", "frozen: [vit, llm]")
    edit(tmp_path, KIMI, "to: 1e-4, for: 2B", "to: 1e-3, for: 2B")
    edit(tmp_path, KIMI, "from: current, to: 1e-3, for: 2B", "from: 0, to: 1e-3, for: 2B")
    assert found(tmp_path) == []
    line = edit(tmp_path, KIMI, "to: 1e-4, for: 100 steps", "to: 1e-3, for: 100 steps")
    said = "a learning rate of 0.001 for llm, which was trained at 0.00042 at most"
    assert found(tmp_path) == [(f"specs/{KIMI}:{line}", said)]


@pytest.mark.parametrize(
    ("length", "finding", "notice"), [("5B", None, None), ("6B", None, "36%"), ("8B", None, "48%"), ("9B", "54%", None)]
)
def test_a_warm_up_that_is_most_of_its_schedule(
    tmp_path: Path, length: str, finding: str | None, notice: str | None
) -> None:
    """Short fine-tuning warms up over up to a half; beyond a third it is reported."""
    line = edit(shipped.copy(tmp_path), LLAMA, "for: 0.6B", f"for: {length}")
    where = f"specs/{LLAMA}:{line}"
    assert found(tmp_path) == ([(where, f"a warm-up of {finding} of its schedule")] if finding else [])
    said = [f"{where}: cpt_256k warms up over {notice} of schedule 'cpt'."] if notice else []
    assert list(long_warm_ups(Project.load(tmp_path), "paper")) == said


def test_a_warm_up_that_nothing_reads_to_its_end_is_one_fault(tmp_path: Path) -> None:
    """I-03 names it: billions where millions were meant."""
    line = edit(shipped.copy(tmp_path), LLAMA, "for: 12.5M}", "for: 12.5B}")
    told = [one for one in unwaived(run(Project.load(tmp_path), "paper")) if one.stage == "llama31_1m/sft_1m"]
    assert [(one.id, str(one.where)) for one in told] == [("I-03", f"specs/{LLAMA}:{line}")]


def test_a_schedule_that_only_rises_is_meant_to(tmp_path: Path) -> None:
    """A stage that warms up, before one that takes the rate over; two lines of which the second was lost are I-03's."""
    small_project.write(tmp_path)
    edit(tmp_path, "toy/pipeline.yaml", "to: 1e-3, for: 100 steps}", "to: 1e-3, until: 4B}")
    edit(tmp_path, "toy/pipeline.yaml", "    - {shape: cosine, to: 1e-4, until: 4B}\n", "")
    assert [place for place, _ in found(tmp_path)] == []
