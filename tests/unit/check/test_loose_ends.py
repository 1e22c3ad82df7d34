"""Loose ends that may be meant are notices, and refuse nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from stages.check.notices.loose_ends import loose_ends
from stages.check.notices.run import as_written
from stages.spec.project import Project
from tests import shipped
from tests.edits import replaced
from tests.mutants import unshipped
from tests.unit.check.reported import of_all
from tests.unit.spec.small_project import edit

TINY = Path(__file__).parents[3] / "examples" / "tiny"


def tiny(folder: Path) -> Path:
    return Path(shutil.copytree(TINY, folder / "tiny"))


def test_the_shipped_pipelines_have_none() -> None:
    assert of_all(shipped.project(), loose_ends) == []


def test_a_stage_that_fine_tuning_passes_by_where_nothing_is_exported(tmp_path: Path) -> None:
    root = tiny(tmp_path)
    assert of_all(Project.load(root), loose_ends) == []
    edit(root, "tiny/sft.yaml", "from: long", "from: pretrain")
    (said,) = of_all(Project.load(root), loose_ends)
    assert said.endswith("sft and long both start from pretrain, and nothing starts from long.")


def test_a_sweep_from_a_point_may_be_there_to_be_compared(tmp_path: Path) -> None:
    root = tiny(tmp_path)
    pretrain = (root / "specs/tiny/pretrain.yaml").read_text()
    alone = "init: {weights: fresh, optimizer: reset, clock: reset, data: restart}"
    decay = "init: {from: pretrain@40_960, weights: inherit, optimizer: inherit, clock: reset, data: continue}"
    text = replaced(
        pretrain, "stage: pretrain", "stage: decay", alone, decay, "schedule: pretrain", "schedule: decay",
        "budget: 65_536", "budget: 16_384",
    )  # fmt: skip
    swept = "variants:\n  field: schedules.decay.0.to\n  values: {low: 0, high: 1e-4}\n"
    (root / "specs/tiny/decay.yaml").write_text(text + swept)
    edit(root, "tiny/pipeline.yaml", "stages: [pretrain, long", "stages: [pretrain, decay, long")
    edit(
        root, "tiny/pipeline.yaml", "schedules:\n",
        "schedules:\n  decay:\n    - {shape: linear, from: current, to: 0, until: 16_384}\n",
    )  # fmt: skip
    assert of_all(Project.load(root), loose_ends) == []


@pytest.mark.parametrize(("context", "told"), [("256", False), ("128", True)])
def test_two_fine_tunings_of_one_model_are_alternatives_at_one_context(
    tmp_path: Path, context: str, told: bool
) -> None:
    root = tiny(tmp_path)
    text = replaced((root / "specs/tiny/sft.yaml").read_text(), "stage: sft", "stage: sft_b")
    text = replaced(text, "epochs: 1", "epochs: 2", "context: 256", f"context: {context}")
    (root / "specs/tiny/sft_b.yaml").write_text(text)
    edit(root, "tiny/pipeline.yaml", "stages: [pretrain, long, sft]", "stages: [pretrain, long, sft, sft_b]")
    said = "sft_b and sft both start from long, and nothing starts from sft."
    assert [one.endswith(said) for one in of_all(Project.load(root), loose_ends)] == [True] * told


@pytest.mark.parametrize(
    ("tokenizer", "told"),
    [("meta-llama/Llama-2-7b-hf", True), ("Qwen/Qwen2.5-7B", True), ("meta-llama/Llama-3.1-8B-Instruct", False)],
)
def test_a_tokenizer_beside_the_release_of_another_model(tmp_path: Path, tokenizer: str, told: bool) -> None:
    edit(
        shipped.copy(tmp_path),
        "llama31_1m/pipeline.yaml",
        "tokenizer: meta-llama/Llama-3.1-8B",
        f"tokenizer: {tokenizer}",
    )
    said = f"specs/llama31_1m/pipeline.yaml:5: the tokenizer is that of {tokenizer}, and release 'llama31_8b' is "
    notices = [
        one for one in as_written(Project.load(tmp_path))
        if one.startswith("specs/llama31_1m/") and " words, and the tokenizer of " not in one
    ]  # fmt: skip
    assert [one.startswith(said) for one in notices] == [True] * told


def test_a_sweep_from_which_nothing_starts(tmp_path: Path) -> None:
    """An export that was copied with the stage before in its `from`: single stages are I-38's, and arms excuse arms."""
    root = unshipped.write(tmp_path)
    before = of_all(Project.load(root), loose_ends)
    edit(root, "dense/weighted.yaml", "[decay_low, decay_high]", "[trunk@6Gi, trunk]")
    edit(root, "dense/weighted.yaml", "{decay_low: 1, decay_high: 3}", "{trunk@6Gi: 1, trunk: 3}")
    new = [one.partition(": ")[2] for one in of_all(Project.load(root), loose_ends) if one not in before]
    assert new == ["nothing starts from a value of decay (decay_low, decay_high): it is measured alone."]


def test_averages_that_nothing_takes_and_parents_of_which_a_merge_has_nothing(tmp_path: Path) -> None:
    root = unshipped.write(tmp_path)
    before = of_all(Project.load(root), loose_ends)
    assert any("the average that adamw keeps" in one and "dense" in one for one in before)
    assert not any("sparse" in one for one in before)  # its exports are of averages
    edit(root, "dense/weighted.yaml", "decay_high: 3", "decay_high: 300")
    edit(root, "dense/average.yaml", "decay: 0.9", "decay: 0.999")
    new = [one.partition(": ")[2] for one in of_all(Project.load(root), loose_ends) if one not in before]
    assert new == ["weighted has 0.33% of decay_low.", "average has 0.10% of trunk@7Gi."]
