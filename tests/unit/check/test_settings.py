"""Settings that no recipe has: of optimizers (I-48), and of routers that nothing moves (I-34)."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.check.findings import Finding, unwaived
from stages.check.run import run
from stages.spec.project import Project
from tests import shipped
from tests.edits import edit, replaced
from tests.unit.spec import small_project

FILE = "toy/pipeline.yaml"
ADAMW = "beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, decay: matrices, clip: 1.0}"
MUON = (
    "adamw: {kind: muon, momentum: 0.95, nesterov: true, newton_schulz: [3.4445, -4.775, 2.0315], "
    "newton_schulz_steps: 5, update_rms: 0.2, " + ADAMW
)


def toy(folder: Path, old: str, new: str, scale: str = "paper") -> list[Finding]:
    """What I-48 finds in the small project under Muon, after an edit."""
    small_project.write(folder)
    small_project.edit(folder, FILE, "adamw: {kind: adamw, " + ADAMW, replaced(MUON, old, new))
    return run(Project.load(folder), scale, {"I-48"})


SLIPS = [
    ("beta1: 0.9, beta2: 0.95", "beta1: 0.95, beta2: 0.9", "beta1 0.95 above beta2 0.9", "beta1"),
    ("beta2: 0.95", "beta2: 0.095", "beta2 0.095", "beta2"),
    ("beta1: 0.9, beta2: 0.95", "beta1: 0.09, beta2: 0.95", "beta1 0.09", "beta1"),
    ("beta2: 0.95", "beta2: 0.999999", "beta2 0.999999", "beta2"),
    ("beta1: 0.9, beta2: 0.95", "beta1: 0.999, beta2: 0.999", "beta1 0.999", "beta1"),
    ("eps: 1e-8", "eps: 1e-3", "eps 0.001", "eps"),
    ("clip: 1.0", "clip: 100", "clip: 100", "clip"),
    ("clip: 1.0", "clip: 0.001", "clip: 0.001", "clip"),
    ("weight_decay: 0.1", "weight_decay: 10", "weight_decay 10", "weight_decay"),
    ("momentum: 0.95", "momentum: 0", "momentum 0", "momentum"),
    ("momentum: 0.95", "momentum: 0.095", "momentum 0.095", "momentum"),
    ("update_rms: 0.2", "update_rms: 2", "update_rms 2", "update_rms"),
    ("update_rms: 0.2", "update_rms: 0.02", "update_rms 0.02 at rates up to 0.001", "update_rms"),
    (
        "newton_schulz: [3.4445, -4.775,",
        "newton_schulz: [3.4445, 4.775,",
        "singular values of 0.03 that become 1e+03 in 5 steps",
        "newton_schulz",
    ),
]


@pytest.mark.parametrize(("old", "new", "observed", "key"), SLIPS, ids=[one[1] for one in SLIPS])
@pytest.mark.parametrize("scale", ["mini", "paper"])
def test_a_slip_is_found_once_at_its_line(
    tmp_path: Path, scale: str, old: str, new: str, observed: str, key: str
) -> None:
    (finding,) = toy(tmp_path, old, new, scale)
    assert (finding.stage, finding.observed, finding.at) == ("toy", observed, (f"optimizers.adamw.{key}",))
    assert finding.where is not None
    assert new.split(", ")[0] in (tmp_path / finding.where.file).read_text().splitlines()[finding.where.line - 1]


@pytest.mark.parametrize(
    ("old", "begins", "ends", "observed"),
    [
        ("momentum: 0.95", "0.85", "0.095", ["momentum 0.095"]),
        ("momentum: 0.95", "0.3", "0.95", []),
        ("momentum: 0.95", "0.95", "0.85", []),
        ("beta1: 0.9", "0.8", "0.09", ["beta1 0.09"]),
        ("beta2: 0.95", "0.98", "0.095", ["beta2 0.095"]),
    ],
)
def test_a_figure_of_a_schedule_counts_at_its_highest_and_at_its_end(
    tmp_path: Path, old: str, begins: str, ends: str, observed: list[str]
) -> None:
    """One that is warmed up begins below what is allowed; where it ends, it has to be what some recipe has."""
    small_project.write(tmp_path)
    rises = f"schedules:\n  rises:\n    - {{shape: linear, from: {begins}, to: {ends}, until: 4B}}\n"
    small_project.edit(tmp_path, FILE, "schedules:\n", rises)
    by_schedule = replaced(MUON, old, f"{old.partition(':')[0]}: {{schedule: rises}}")
    small_project.edit(tmp_path, FILE, "adamw: {kind: adamw, " + ADAMW, by_schedule)
    assert Project.load(tmp_path).resolve("toy", "paper")
    assert [one.observed for one in run(Project.load(tmp_path), "paper", {"I-48"}) if one.stage == "toy"] == observed


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("beta1: 0.9,", "beta1: 0.95,"),  # equal betas: arXiv 2505.21829
        ("beta1: 0.9,", "beta1: 0,"),
        ("beta2: 0.95", "beta2: 0.999"),
        ("eps: 1e-8", "eps: 1.5e-4"),  # arXiv 1710.02298
        ("eps: 1e-8", "eps: 1e-20"),
        ("clip: 1.0", "clip: 20"),
        ("clip: 1.0", "clip: 0.01"),
        ("clip: 1.0", "clip: none"),
        ("momentum: 0.95", "momentum: 0.5"),
        ("update_rms: 0.2", "update_rms: 1"),
        ("update_rms: 0.2", "update_rms: 0.05"),
        ("weight_decay: 0.1", "weight_decay: 3.2"),  # 30 times as much as usual is best on few data: arXiv 2509.14786
    ],
)
def test_what_recipes_have_is_right(tmp_path: Path, old: str, new: str) -> None:
    assert toy(tmp_path, old, new) == []


def test_updates_without_muons_factor_go_with_a_higher_rate(tmp_path: Path) -> None:
    """1 / sqrt(2048) at 0.02, as the first recipes with Muon have it."""
    toy(tmp_path, "update_rms: 0.2", "update_rms: 0.022")
    small_project.edit(tmp_path, FILE, "to: 1e-3", "to: 0.02")
    for scale in ("mini", "paper"):
        assert run(Project.load(tmp_path), scale, {"I-48"}) == []


def test_it_is_waived_in_pipeline_yaml(tmp_path: Path) -> None:
    assert unwaived(toy(tmp_path, "clip: 1.0", "clip: 100"))
    waiver = '{id: I-48, at: [optimizers.adamw.clip], found: 100, reason: "sums over a row"}'
    with (tmp_path / "specs" / FILE).open("a") as file:
        file.write(f"waivers:\n  - {waiver}\n")
    (finding,) = run(Project.load(tmp_path), "paper", {"I-48"})
    assert finding.waived == "sums over a row"


VARIANT = """\
pipeline: again
title: Another optimizer
citation: none
figure: none
extends: toy
"""


def test_a_reading_does_not_repeat_what_it_extends(tmp_path: Path) -> None:
    toy(tmp_path, "clip: 1.0", "clip: 100")
    (tmp_path / "specs/again").mkdir()
    (tmp_path / "specs/again/pipeline.yaml").write_text(VARIANT + "stages: []\n")
    found = run(Project.load(tmp_path), "paper", {"I-48"})
    assert [one.stage for one in found if one.id == "I-48"] == ["toy"]


@pytest.mark.parametrize(("window", "found"), [(9_400, []), (9_600, ["9.6K"])])
def test_a_window_that_a_stage_never_fills_by_half_skips_nothing(tmp_path: Path, window: int, found: list[str]) -> None:
    """first has 4,770 steps; a smaller scale has fewer, and the same rule."""
    skip = f"clip: 1.0, skip: {{window: {window}, sigmas: 6}}}}"
    told = toy(tmp_path, "clip: 1.0}", skip)
    assert [one.found for one in told if one.stage == "toy/first"] == found
    assert all(one.at == ("skip.window",) for one in told)
    assert run(Project.load(tmp_path), "mini", {"I-48"}) == []


@pytest.mark.parametrize(("active", "aux_loss", "phases"), [(1, "0", 3), (1, "1e-3", 0), (2, "0", 0)])
def test_a_router_whose_one_expert_has_weight_1_has_a_loss_of_its_own(
    tmp_path: Path, active: int, aux_loss: str, phases: int
) -> None:
    """qwen3_moe divides the weights of the chosen experts by their sum; OLMoE's do not, and one may be chosen."""
    small_project.write(tmp_path)
    routed = f"qwen3_moe, experts: 8, active_experts: {active}, expert_ffn: 128"
    small_project.edit(tmp_path, FILE, "family: llama", f"family: {routed}")
    router = f"    router: {{bias_update: 0, aux_loss: {aux_loss}}}\n    micro_batch:"
    for name in ("toy/first", "toy/second", "toy_variant/second"):
        edit(tmp_path / f"specs/{name}.yaml", "    micro_batch:", router, everywhere=True)
    found = [one for one in run(Project.load(tmp_path), "paper", {"I-34"}) if one.stage.startswith("toy/")]
    assert len(found) == phases
    assert {one.at for one in found} <= {(f"phases.{name}.router.aux_loss",) for name in ("short", "long", "main")}


@pytest.mark.parametrize(
    ("lr", "decay", "key"),
    [
        ("200", "1", "lr"),
        ("1/100_000", "1", "lr"),  # 1e-8: a rate, in the place of a multiple
        ("1/500", "1", None),
        ("1", "200", "weight_decay"),
        ("1/64", "640", None),
        ("10", "0", None),
    ],
)
def test_the_multiples_of_a_group_are_plausible_beside_the_rate(
    tmp_path: Path, lr: str, decay: str, key: str | None
) -> None:
    """Of a peak of 1e-3 and a decay of 0.1; a decay may be multiplied by what the rate is divided by."""
    group = f"{{name: inner, of: [matrices], lr: {lr}, weight_decay: {decay}}}"
    for scale in ("paper", "mini"):
        found = toy(tmp_path / scale, "clip: 1.0}", f"clip: 1.0, groups: [{group}]}}", scale)
        assert {one.at for one in found} == ({(f"groups.inner.{key}",)} if key else set())
        assert all(one.where is not None and one.where.file == f"specs/{FILE}" for one in found)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("newton_schulz_steps: 5", "newton_schulz_steps: 1", "singular values of 0.03 that become 0.103 in 1 steps"),
        ("newton_schulz_steps: 5", "newton_schulz_steps: 4", None),
        ("newton_schulz: [3.4445, -4.775, 2.0315], newton_schulz_steps: 5",
         "newton_schulz: [1.5, -0.5, 0], newton_schulz_steps: 10", None),  # the classical iteration
    ],
)  # fmt: skip
def test_an_update_of_muon_is_orthogonalised(tmp_path: Path, old: str, new: str, told: str | None) -> None:
    assert [one.observed for one in toy(tmp_path, old, new)] == ([told] if told else [])


@pytest.mark.parametrize(
    ("ema", "weights", "told"), [("0.9999", "average", True), ("0.999", "average", False), ("0.9999", "inherit", False)]
)
def test_an_average_that_reaches_back_beyond_its_stage(tmp_path: Path, ema: str, weights: str, told: bool) -> None:
    """1 / (1 - ema) steps are 10,000, and the stage has half as many. One that nothing takes does no harm."""
    toy(tmp_path, "clip: 1.0}", f"clip: 1.0, ema: {ema}}}")
    small_project.edit(tmp_path, FILE, "stages: [first, second, release]", "stages: [first, second, release, mean]")
    export = f"stage: mean\nbox: Mean\nkind: export\ninit: {{from: first, weights: {weights}}}\n"
    (tmp_path / "specs/toy/mean.yaml").write_text(export)
    said = [one.observed for one in run(Project.load(tmp_path), "paper", {"I-48"}) if one.stage == "toy/first"]
    assert [one.partition(" of ")[0] for one in said] == ["an average that ends with 62%"] * told


def test_a_trained_caption_decoder_has_a_loss(tmp_path: Path) -> None:
    line = small_project.edit(shipped.copy(tmp_path), "kimi_vl/vit_coca.yaml", "caption_weight: 2", "caption_weight: 0")
    (finding,) = (one for one in run(Project.load(tmp_path), "paper", {"I-34"}) if one.stage == "kimi_vl/vit_coca")
    assert (str(finding.where), finding.at) == (
        f"specs/kimi_vl/vit_coca.yaml:{line}", ("phases.main.coca.caption_weight",)
    )  # fmt: skip
    assert finding.observed == "decoder trained with caption_weight: 0: no loss reaches it"
