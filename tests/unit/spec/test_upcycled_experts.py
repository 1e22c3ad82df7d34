"""`upcycle: experts` in a spec: what it resolves to, what is said of it, and which models are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stages.check.run import check, make_context, run_pipeline
from stages.commands.hand_over import grown
from stages.errors import SpecError
from stages.spec.project import Project
from tests.edits import replaced
from tests.unit.spec.small_project import edit

DENSE = (
    "small: {family: qwen3, layers: 2, hidden: 64, ffn: 128, heads: 4, kv_heads: 2, head_dim: 16, vocab: 512,\n"
    "          norm_eps: 1e-5, tied: false, init_std: 0.02}"
)
ROUTED = "routed: " + replaced(
    DENSE.removeprefix("small: "),
    "qwen3",
    "qwen3_moe",
    "ffn: 128",
    "ffn: 128, experts: 8, active_experts: 2, expert_ffn: 128",
)
SECOND = """\
stage: second
box: Second
kind: upcycle
modules: {llm: routed}
init: {from: first, weights: {upcycle: experts}, optimizer: inherit, clock: reset, data: continue}
"""
TOY = "toy/pipeline.yaml"


@pytest.fixture
def routed(root: Path) -> Path:
    """toy/second makes a model of eight experts of toy/first's dense one."""
    (root / "specs/toy/second.yaml").write_text(SECOND)
    for name in ("pipeline", "second"):
        (root / f"specs/toy_variant/{name}.yaml").unlink()
    text = (root / "specs" / TOY).read_text()
    small = text[text.index("small: ") : text.index("\noptimizers:")]
    edit(root, TOY, small, f"{DENSE}\n  {ROUTED}")
    edit(root, TOY, "tokens: 4B, lineage: second", "tokens: 2B, lineage: second")
    edit(root, TOY, "to: 1e-4, until: 4B", "to: 1e-4, until: 2B")
    edit(root, "scales/mini.yaml", "small: {layers: 1}", "small: {layers: 1}\n      routed: {layers: 1}")
    return root


def test_every_layer_is_kept_and_the_parameters_add_up(routed: Path) -> None:
    project = Project.load(routed)
    stages = project.resolve("toy", "paper").stages
    init = stages["second"].init["llm"]
    assert (init.weights, init.experts, init.layer_map, init.optimizer) == ("upcycle", "copies", (0, 1), "inherit")
    assert project.resolve("toy", "mini").stages["second"].init["llm"].layer_map == (0,)
    assert not [one for one in run_pipeline(project, "toy", "paper") if one.id in ("I-23", "I-31")]
    ((_, said),) = grown(stages["second"], {f"toy/{name}": stage for name, stage in stages.items()})
    assert said == (
        "llm: 140K -> 485K parameters, 74.1K -> 124K of them active; in each of 2 layers 8 copies of the "
        "feed-forward part, of which a token takes 2; routers are drawn at random, with deviation 0.02 and seed 1; "
        "2B tokens seen before, by the smaller model"
    )


def test_the_routers_seed_and_the_experts_are_in_the_key(routed: Path) -> None:
    keys = [Project.load(routed).resolve("toy", "paper").keys]
    for file, old, new in (
        (TOY, "experts: 8", "experts: 16"),
        (TOY, "active_experts: 2", "active_experts: 4"),
        ("scales/paper.yaml", "seed: 1", "seed: 2"),
    ):
        edit(routed, file, old, new)
        keys.append(Project.load(routed).resolve("toy", "paper").keys)
    assert len({one["second"] for one in keys}) == len(keys)
    assert len({one["first"] for one in keys[:-1]}) == 1


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("expert_ffn: 128", "expert_ffn: 64", "in layer 0 experts of width 64 from a feed-forward part of 128"),
        ("qwen3_moe, layers: 2", "qwen3_moe, layers: 4", "4 layers from 2"),
        ("experts: 8, active_experts: 2", "experts: 1, active_experts: 1", "one expert alone"),
        ("small: {family: qwen3,", "small: {family: llama,", "attention of another qk_norm"),
        ("{family: qwen3, layers: 2, hidden: 64", "{family: qwen3, layers: 2, hidden: 8", "another hidden"),
        ("tied: false, init_std: 0.02}\n  routed", "tied: true, init_std: 0.02}\n  routed", "another tied"),
        (ROUTED, replaced(DENSE, "small:", "routed:"), "no routed experts"),
    ],
    ids=lambda one: one if len(one) < 60 else "",
)
def test_a_model_that_is_not_its_parent_with_experts_is_refused(routed: Path, old: str, new: str, found: str) -> None:
    edit(routed, TOY, old, new)
    with pytest.raises(SpecError) as wrong:
        Project.load(routed).resolve("toy", "paper")
    assert wrong.value.key == "modules.llm"
    assert found in wrong.value.found


OLMOE = "routed: " + replaced(
    DENSE.removeprefix("small: "),
    "qwen3",
    "olmoe",
    "ffn: 128",
    "ffn: 128, experts: 8, active_experts: 2",
    "head_dim: 16, ",
    "",
)


def test_weights_that_do_not_sum_to_1_are_refused(routed: Path) -> None:
    """A model with them computes something else than its parent from the first step on."""
    edit(routed, TOY, ROUTED, OLMOE)
    with pytest.raises(SpecError, match=r"weights are not divided by their sum.*allowed: a language model"):
        Project.load(routed).resolve("toy", "paper")


def test_it_hands_on_no_average(routed: Path) -> None:
    edit(routed, TOY, "clip: 1.0}", "clip: 1.0, ema: 0.999}")
    (routed / "specs/toy/release.yaml").write_text(
        "stage: release\nbox: R\nkind: export\ninit: {from: second, weights: average}\n"
    )
    with pytest.raises(SpecError, match=r"average for llm, of which second has none"):
        Project.load(routed).resolve("toy", "paper")


def test_parameters_that_do_not_add_up_are_a_finding(routed: Path) -> None:
    """Whatever resolved them: the child is counted from its parent."""
    context = make_context(Project.load(routed), "toy", "paper")
    stage = context.pipeline.stages["second"]
    for changes in ({"experts": 7}, {"expert_ffn": 64}, {"hidden": 32, "head_dim": 8}):
        other = stage.model_copy(update={"modules": {"llm": stage.modules["llm"].model_copy(update=changes)}})
        stages = {**context.pipeline.stages, "second": other}
        bent = replace(context, pipeline=replace(context.pipeline, stages=stages))
        assert [one.id for one in check(bent, ("I-23", "I-31"))] == (["I-23"] if changes != {"experts": 7} else [])
