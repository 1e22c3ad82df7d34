"""Weights of the parts of a loss: I-50."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.check.findings import Finding
from stages.check.run import run
from stages.spec.project import Project
from tests import shipped
from tests.unit.check.reported import only
from tests.unit.spec import small_project

ROUTER = "router: {bias_update: 1e-3, aux_loss: 1e-4}"


def found(folder: Path, file: str, old: str, new: str) -> list[Finding]:
    """What I-50 finds in the shipped specs after an edit, at full size."""
    small_project.edit(shipped.copy(folder), file, old, new)
    return only(run(Project.load(folder), "paper"), "I-50")


@pytest.mark.parametrize(
    ("file", "old", "new", "key", "observed"),
    [
        ("kimi_vl/text_pretrain.yaml", ROUTER, "router: {bias_update: 1e-1, aux_loss: 1e-4}", "router.bias_update",
         "bias_update 0.1"),
        ("kimi_vl/text_pretrain.yaml", ROUTER, "router: {bias_update: 1e-3, aux_loss: 0.1}", "router.aux_loss",
         "aux_loss 0.1"),
        ("kimi_vl/text_pretrain.yaml", ROUTER, "router: {bias_update: 1e-3, aux_loss: 1e-14}", "router.aux_loss",
         "aux_loss 1e-14"),
        ("kimi_vl/text_pretrain.yaml", ROUTER, "router: {bias_update: 0, aux_loss: 0}", "router.aux_loss",
         "bias_update 0 and aux_loss 0, while the experts of llm are new"),
        ("kimi_vl/vit_coca.yaml", "caption_weight: 2", "caption_weight: 200", "coca.caption_weight",
         "caption_weight 200"),
        ("ouro/warmup.yaml", "beta: 0.1}", "beta: 5}", "loops.beta", "beta 5"),
    ],
)  # fmt: skip
def test_a_weight_that_no_recipe_has_is_found_at_its_line(
    tmp_path: Path, file: str, old: str, new: str, key: str, observed: str
) -> None:
    (finding,) = found(tmp_path, file, old, new)
    assert (finding.observed, finding.at) == (observed, (f"phases.main.{key}",))
    assert finding.where is not None
    assert new in (tmp_path / finding.where.file).read_text().splitlines()[finding.where.line - 1]


def test_experts_that_were_trained_before_may_be_left_to_themselves(tmp_path: Path) -> None:
    cooldown = "router: {bias_update: 0, aux_loss: 1e-4}"
    assert found(tmp_path, "kimi_vl/joint_cooldown.yaml", cooldown, "router: {bias_update: 0, aux_loss: 0}") == []


@pytest.mark.parametrize(
    ("settings", "observed"),
    [
        ("beta: 0.1, answers: sum, turn_ends: masked, nll: 0.2", []),
        ("beta: 10, answers: sum, turn_ends: masked, nll: 0", ["beta 10 with answers: sum"]),
        ("beta: 3e-4, answers: sum, turn_ends: masked, nll: 0", []),
        ("beta: 1e-4, answers: sum, turn_ends: masked, nll: 0", ["beta 1e-4 with answers: sum"]),
        ("beta: 5, answers: mean, turn_ends: masked, nll: 0", []),
        ("beta: 0.1, answers: mean, turn_ends: masked, nll: 0", ["beta 0.1 with answers: mean"]),
        ("beta: 0.1, answers: sum, turn_ends: masked, nll: 20", ["nll 20"]),
        ("beta: 3e-4, answers: sum, turn_ends: masked, nll: 1e-5", []),
        ("beta: 0.1, answers: sum, turn_ends: masked, nll: 1e-6", ["nll 1e-6"]),
    ],
)
def test_the_beta_of_preferences_is_that_of_sums_or_of_means(
    tmp_path: Path, settings: str, observed: list[str]
) -> None:
    small_project.write(tmp_path)
    small_project.prefer(tmp_path, f"preference: {{loss: dpo, {settings}}}")
    assert [one.observed for one in only(run(Project.load(tmp_path), "paper"), "I-50")] == observed


@pytest.mark.parametrize(("highest", "observed"), [("1e-4", []), ("1e-2", ["z_loss 0.01"])])
def test_of_a_number_that_a_schedule_gives_its_highest_counts(
    tmp_path: Path, highest: str, observed: list[str]
) -> None:
    """One that falls to 0 in the end is not small."""
    small_project.write(tmp_path)
    fall = f"schedules:\n  fall:\n    - {{shape: linear, from: {highest}, to: 0, until: 2B}}\n"
    small_project.edit(tmp_path, "toy/pipeline.yaml", "schedules:\n", fall)
    for batch in ("batch: [{after: 0", "batch: 64 seq"):
        small_project.edit(tmp_path, "toy/first.yaml", f"    {batch}", f"    z_loss: {{schedule: fall}}\n    {batch}")
    found = only(run(Project.load(tmp_path), "paper"), "I-50")
    assert [one.observed for one in found if one.at == ("phases.short.z_loss",)] == observed
