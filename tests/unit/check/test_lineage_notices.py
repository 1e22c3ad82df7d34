"""Notices about a stage next to those above it: parts of a loss, lengths, points, epochs, rates, merges."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from stages.check.notices.batches import stepped
from stages.check.notices.budgets import implausible
from stages.check.notices.decays import strong
from stages.check.notices.early_points import early
from stages.check.notices.lengths import as_before, cut_short, short_rows
from stages.check.notices.loose_ends import loose_ends
from stages.check.notices.losses import changed
from stages.check.notices.mixtures import leaping, whole_anyway
from stages.check.notices.rates import highest, lowest
from stages.check.notices.repeats import often
from stages.spec.project import Project
from tests import shipped
from tests.edits import edit as edited
from tests.mutants import unshipped
from tests.unit.check.reported import of_all
from tests.unit.spec.small_project import edit

TELLS = (
    changed,
    as_before,
    early,
    often,
    highest,
    lowest,
    strong,
    implausible,
    leaping,
    whole_anyway,
    cut_short,
    short_rows,
)
OURO = "ouro/pipeline.yaml"
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
        (changed, "kimi_vl/joint_pretrain.yaml", "aux_loss: 1e-4", "aux_loss: 1e-3",
         "joint_pretrain has aux_loss 0.001, after 0.0001 of kimi_vl/text_pretrain, whose clock goes on."),
        (leaping, "kimi_vl/joint_pretrain.yaml", "to: 40%", "to: 4%",
         "joint_cooldown begins with 40% of pictures, after a ramp to 4% in kimi_vl/joint_pretrain."),
        (short_rows, SFT, "context: 32Ki", "context: 32",
         "sft_32k trains 8.0B parameters on rows of 32 tokens; recipes have 512 and more: is Ki missing?"),
        (leaping, COOLDOWN, "over: 0%", "over: 50%",
         "joint_cooldown has 40% of pictures from its first row on: `over` has no effect."),
        (whole_anyway, "kimi_vl/vit_coca.yaml", "packing: whole", "packing: concatenate",
         "vit_coca reads pairs and documents with pictures alone, which are always packed whole."),
        (whole_anyway, "kimi_vl/vit_align.yaml", "packing: whole", "packing: concatenate",
         "vit_align reads pairs and documents with pictures alone, which are always packed whole."),
        (often, SFT, "epochs: 1", "epochs: 20", "sft_32k reads its corpora 20 times; recipes have 1 to 5, few 15."),
        (highest, KIMI, "to: 4.2e-4, for: 2000 steps", "to: 4.2e-3, for: 2000 steps",
         "text_pretrain trains 16.0B parameters at up to 0.0042, above 0.002: for pre-training at such sizes, "),
        (highest, LLAMA, "to: 2e-5, for: 50M", "to: 2e-4, for: 50M",
         "sft_32k trains 8.0B parameters at up to 0.0002, above 0.0001: for fine-tuning on answers at such sizes, "),
        (highest, LLAMA, "to: 2e-5, for: 0.6B", "to: 2e-4, for: 0.6B",
         "cpt_256k trains 8.0B parameters at up to 0.0002, above 0.0001: for longer contexts at such sizes, "),
        (lowest, LLAMA, "to: 2e-5, for: 0.6B", "to: 2e-6, for: 0.6B",
         "cpt_256k trains 8.0B parameters at 2e-06 at most, below 3e-06: for longer contexts at such sizes, "),
        (lowest, KIMI, "to: 4.2e-4, for: 2000 steps", "to: 4.2e-5, for: 2000 steps",
         "text_pretrain trains 16.0B parameters at 4.2e-05 at most, below 5e-05: for pre-training from scratch at "),
        (lowest, OURO, "to: 2e-5, for: 2B", "to: 2e-7, for: 2B",
         "reasoning_sft_1_4b trains 1.4B parameters at 2e-07 at most, below 1e-06: for fine-tuning on answers at "),
        (strong, KIMI, "weight_decay: 0.1", "weight_decay: 1",
         "text_pretrain trains 16.0B parameters with a weight decay of 1; published ones have 0.01 to 0.28, "),
        (implausible, KIMI, "for: 2000 steps", "for: 20 steps",
         "text_pretrain warms up in 20 steps; from scratch, recipes have 40 to 8,000 (arXiv 2407.21783 8,000)."),
        (implausible, "ouro/warmup.yaml", "batch: 1024 seq", "batch: 4 seq",
         "warmup trains on 16,384 tokens a step; pre-training of a billion parameters and more has 1M to 128M "),
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


@pytest.mark.parametrize(
    ("shares", "told"),
    [
        ("{trunk@7Gi: 9, decay_low: 1}", "weighted has 9 parts of trunk@7Gi and 1 of decay_low, which comes after it"),
        ("{trunk@7Gi: 1, decay_low: 9}", ""),
        ("{trunk@6Gi: 2, trunk@7Gi: 1}", "weighted has 2 parts of trunk@6Gi and 1 of trunk@7Gi, which comes after it"),
        ("{trunk@6Gi: 1, trunk@7Gi: 1}", ""),
        ("{decay_high: 9, decay_low: 1}", ""),
    ],
)
def test_a_merge_that_has_more_of_what_is_older(tmp_path: Path, shares: str, told: str) -> None:
    root = unshipped.write(tmp_path)
    names = ", ".join(one.partition(":")[0] for one in shares.strip("{}").split(", "))
    edit(root, "dense/weighted.yaml", "from: [decay_low, decay_high]", f"from: [{names}]")
    edit(root, "dense/weighted.yaml", "{decay_low: 1, decay_high: 3}", shares)
    new = [one.partition(": ")[2] for one in of_all(Project.load(root), loose_ends) if "weighted has" in one]
    assert new == [f"{told}: are the shares exchanged?"] * bool(told)


def test_a_stage_that_is_listed_before_its_parent(tmp_path: Path) -> None:
    line = edit(
        shipped.copy(tmp_path), "ouro/pipeline.yaml", "  - warmup\n  - stable_1\n", "  - stable_1\n  - warmup\n"
    )
    said = "stable_1 is listed before warmup, from which it starts."
    assert of_all(Project.load(tmp_path), loose_ends) == [f"specs/ouro/pipeline.yaml:{line}: {said}"]
