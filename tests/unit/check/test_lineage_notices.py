"""Notices about a stage next to those above it: parts of a loss, lengths, points, epochs, rates, merges."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from stages.check.notices.batches import stepped
from stages.check.notices.early_points import early
from stages.check.notices.lengths import as_before
from stages.check.notices.loose_ends import loose_ends
from stages.check.notices.losses import changed
from stages.check.notices.rates import highest
from stages.check.notices.repeats import often
from stages.spec.project import Project
from tests import shipped
from tests.edits import edit as edited
from tests.mutants import unshipped
from tests.unit.check.told import of_all
from tests.unit.spec.small_project import edit

TELLS = (changed, as_before, early, often, highest)
KIMI, LLAMA, TEXT = "kimi_vl/pipeline.yaml", "llama31_1m/pipeline.yaml", "kimi_vl/text_pretrain.yaml"
COOLDOWN, LONG, SFT = "kimi_vl/joint_cooldown.yaml", "kimi_vl/joint_longctx.yaml", "llama31_1m/sft_32k.yaml"
ROUTER = "router: {bias_update: 0, aux_loss: 1e-4}"


def test_the_shipped_pipelines_have_none() -> None:
    project = shipped.project()
    assert [one for scale in project.scales() for tell in TELLS for one in tell(project, scale)] == []


@pytest.mark.parametrize(("z_loss", "told"), [("0", ["dense/trunk_at_6144mi, which has 5e-05"]), ("1e-4", [])])
def test_a_z_loss_that_ends(tmp_path: Path, z_loss: str, told: list[str]) -> None:
    """Of a schedule, its last value counts above."""
    edit(unshipped.write(tmp_path), "dense/long.yaml", "    data: books\n", f"    data: books\n    z_loss: {z_loss}\n")
    said = [one.partition(": ")[2] for one in changed(Project.load(tmp_path), "full") if "dense/long" in one]
    assert said == [f"long has no z_loss, after {one}." for one in told]


@pytest.mark.parametrize(
    ("tell", "file", "old", "new", "said"),
    [
        (changed, LONG, ROUTER, "router: {bias_update: 1e-3, aux_loss: 1e-4}",
         "joint_longctx has bias_update 0.001 again, after kimi_vl/joint_cooldown, where it was 0 in the end."),
        (changed, COOLDOWN, ROUTER, "router: {bias_update: 0, aux_loss: 0}",
         "joint_cooldown balances its experts by nothing (bias_update 0, aux_loss 0), after kimi_vl/joint_pretrain"),
        (often, SFT, "epochs: 1", "epochs: 20", "sft_32k reads its corpora 20 times; recipes have 1 to 5, few 15."),
        (highest, KIMI, "to: 4.2e-4, for: 2000 steps", "to: 4.2e-3, for: 2000 steps",
         "text_pretrain trains 16.0B parameters at up to 0.0042, above 0.001: for pre-training at such sizes, "),
        (highest, LLAMA, "to: 2e-5, for: 50M", "to: 2e-4, for: 50M",
         "sft_32k trains 8.0B parameters at up to 0.0002, above 0.0001: for fine-tuning on answers at such sizes, "),
    ],
)  # fmt: skip
def test_a_slip_is_told_once_at_its_line(
    tmp_path: Path, tell: Callable[[Project, str], Iterable[str]], file: str, old: str, new: str, said: str
) -> None:
    edited(shipped.copy(tmp_path) / "specs" / file, old, new, everywhere=True)
    (notice,) = tell(Project.load(tmp_path), "paper")
    assert notice.partition(": ")[2].startswith(said)


@pytest.mark.parametrize(("mixture", "told"), [("kimi_cooldown", True), ("kimi_long", False)])
def test_rows_that_grow_ask_for_corpora_that_were_not_read_in_short_ones(
    tmp_path: Path, mixture: str, told: bool
) -> None:
    edited(shipped.copy(tmp_path) / "specs" / LONG, "data: kimi_long", f"data: {mixture}", everywhere=True)
    notices = list(as_before(Project.load(tmp_path), "paper"))
    assert len(notices) == told
    assert all(
        "joint_longctx reads rows of 131,072 tokens" in one and "rows of 8,192 at most" in one for one in notices
    )


@pytest.mark.parametrize(
    ("point", "said"),
    [
        ("4Mi", "decay_low starts from dense/trunk_at_4mi, where the rate of trunk still warms up."),
        ("64Mi", "decay_low starts from dense/trunk_at_64mi, which has read 67,108,864, and reads 1,000,000,000."),
    ],
)
def test_a_point_with_a_smaller_prefix(tmp_path: Path, point: str, said: str) -> None:
    edit(unshipped.write(tmp_path), "dense/decay.yaml", "from: trunk@6Gi", f"from: trunk@{point}")
    assert said in [one.partition(": ")[2] for one in early(Project.load(tmp_path), "full")]


def test_a_batch_that_changes_at_the_beginning(tmp_path: Path) -> None:
    line = edit(shipped.copy(tmp_path), TEXT, "{after: 200B, ", "{after: 200M, ")
    assert of_all(Project.load(tmp_path), stepped) == [
        f"specs/{TEXT}:{line}: text_pretrain changes its batch after 0.00% of its budget."
    ]


def test_a_merge_that_lacks_a_value_of_a_sweep(tmp_path: Path) -> None:
    root = unshipped.write(tmp_path)
    before = of_all(Project.load(root), loose_ends)
    edited(root / "specs/dense/decay.yaml", "low: ", "middle: 2e-4, low: ")
    new = [one.partition(": ")[2] for one in of_all(Project.load(root), loose_ends) if one not in before]
    assert new == ["weighted averages 2 of 3: without decay_middle."]


def test_a_stage_that_is_listed_before_its_parent(tmp_path: Path) -> None:
    line = edit(
        shipped.copy(tmp_path), "ouro/pipeline.yaml", "  - warmup\n  - stable_1\n", "  - stable_1\n  - warmup\n"
    )
    said = "stable_1 is listed before warmup, from which it starts."
    assert of_all(Project.load(tmp_path), loose_ends) == [f"specs/ouro/pipeline.yaml:{line}: {said}"]
