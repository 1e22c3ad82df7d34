"""Engines of a scale: which one runs a stage, what a scale has to say of them, and what of it is in a key."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.errors import InvalidSpecs, SpecError
from stages.spec.project import Project
from stages.spec.resolved import Execution
from stages.spec.resolved_parallel import Parallel
from tests import shipped
from tests.unit.spec.small_project import edit

ROOT = Path(__file__).parents[3]
NEMO = "scales/mini_nemo.yaml"
PIPELINES = ("llama31_1m", "kimi_vl", "ouro")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return shipped.copy(tmp_path)


def engines(root: Path, pipeline: str, scale: str = "mini_nemo") -> dict[str, str]:
    stages = Project.load(root).resolve(pipeline, scale).stages
    return {name: stage.execution.engine for name, stage in stages.items()}


def test_the_nemo_engine_trains_language_models_and_the_torch_engine_everything_else() -> None:
    assert engines(ROOT, "kimi_vl") == {
        "text_pretrain": "nemo", "vit_coca": "torch", "vit_align": "torch",
        "joint_pretrain": "nemo", "joint_cooldown": "nemo", "joint_longctx": "nemo",
    }  # fmt: skip
    llama = engines(ROOT, "llama31_1m")
    assert (llama["base"], llama["instruct"]) == ("torch", "torch"), "a stand-in of a release, and an export"
    assert {llama[name] for name in llama if name[:3] in ("cpt", "sft")} == {"nemo"}


def test_stages_named_in_the_scale_stay_on_the_torch_engine_and_so_do_copies() -> None:
    ouro = engines(ROOT, "ouro")
    assert {ouro[name] for name in ouro if "2_6b" in name} == {"torch"}
    assert (ouro["stable_2_1_4b"], ouro["keep_1_4b"], ouro["ouro_1_4b"]) == ("nemo", "torch", "torch")


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_what_a_stage_computes_in_follows_its_engine(pipeline: str) -> None:
    for stage in Project.load(ROOT).resolve(pipeline, "mini_nemo").stages.values():
        assert stage.engine_class == f"{stage.execution.engine}-fp32"
        assert (stage.execution.parallel is not None) == (stage.execution.engine == "nemo")


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_stage_on_the_torch_engine_has_the_key_of_the_scale_without_nemo(pipeline: str) -> None:
    """Unless something above it was trained elsewhere: keys are chained."""
    project = Project.load(ROOT)
    mini, nemo = project.resolve(pipeline, "mini"), project.resolve(pipeline, "mini_nemo")
    above: dict[str, bool] = {}
    for name, stage in nemo.stages.items():
        own = stage.execution.engine == "torch"
        above[name] = own and all(above[ref.partition("/")[2]] for ref in stage.parents)
        assert (mini.keys[name] == nemo.keys[name]) == above[name]


def test_no_layout_is_in_a_key(root: Path) -> None:
    before = Project.load(root).keys("mini_nemo")
    edit(
        root,
        NEMO,
        "pipelines:\n",
        "pipelines:\n  llama31_1m:\n    executions: {cpt_1m: {ranks: 8, parallel: {tp: 2, cp: 2}}}\n",
    )
    edit(root, NEMO, "sequence_parallel: false", "sequence_parallel: true")
    assert Project.load(root).keys("mini_nemo") == before


def test_a_stage_overrides_its_pipeline_which_overrides_the_scale_field_by_field(root: Path) -> None:
    edit(root, NEMO, "pipelines:\n", """\
pipelines:
  llama31_1m:
    execution: {ranks: 4, parallel: {cp: 2, recompute: full}}
    executions: {cpt_1m: {ranks: 16, parallel: {tp: 4, sequence_parallel: true}}}
""")  # fmt: skip
    stages = Project.load(root).resolve("llama31_1m", "mini_nemo").stages
    own, other = stages["cpt_1m"].execution, stages["cpt_512k"].execution
    assert own.parallel == Parallel(
        tp=4, pp=1, cp=2, ep=1, vpp=1, sequence_parallel=True, distributed_optimizer=False, recompute="full"
    )  # fmt: skip
    assert (own.ranks, own.dp, own.activations) == (16, 2, "recomputed")
    assert other.parallel is not None
    assert (other.parallel.tp, other.parallel.cp, other.ranks, other.dp) == (1, 2, 4, 2)


def test_at_full_size_a_stage_says_its_own_layout() -> None:
    stages = Project.load(ROOT).resolve("llama31_1m", "paper").stages
    long, base = stages["cpt_1m"], stages["base"]
    assert (long.engine_class, base.engine_class) == ("nemo-bf16", "torch-bf16")
    assert long.execution.parallel == Parallel(
        tp=8, pp=1, cp=16, ep=1, vpp=1, sequence_parallel=True, distributed_optimizer=True, recompute="full"
    )  # fmt: skip
    assert (long.execution.dp, base.execution.parallel) == (1, None)


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("torch_class: torch-fp32\n", "", "torch_class"),
        ("engine_class: nemo-fp32", "engine_class: torch-fp32", "engine_class"),
        ("torch_class: torch-fp32", "torch_class: nemo-fp32", "torch_class"),
        ("engine: nemo\nengine_class: nemo-fp32", "engine: torch\nengine_class: torch-fp32", "torch_class"),
        ("recompute: none", "recompute: some", "execution.parallel.recompute"),
        (", recompute: none", "", "execution.parallel.recompute"),
        ("tp: 1,", "tp: 0,", "execution.parallel.tp"),
        ("[stable_2_2_6b,", "[stable_2_2_6x,", "pipelines.ouro.torch.0"),
    ],
)  # fmt: skip
def test_what_a_scale_leaves_open_or_contradicts_is_told_with_its_key(root: Path, old: str, new: str, key: str) -> None:
    edit(root, NEMO, old, new)
    with pytest.raises(InvalidSpecs) as told:
        Project.load(root).resolve("ouro", "mini_nemo")
    assert f" {key}: " in str(told.value)
    assert f"specs/{NEMO}:" in str(told.value)


def test_an_unknown_stage_in_executions_is_told(root: Path) -> None:
    edit(root, NEMO, "pipelines:\n", "pipelines:\n  llama31_1m:\n    executions: {cpt_2m: {ranks: 2}}\n")
    with pytest.raises(SpecError, match=r"executions\.cpt_2m: found the unknown stage 'cpt_2m'"):
        Project.load(root).resolve("llama31_1m", "mini_nemo")


def test_a_scale_with_torch_alone_has_no_entry_for_another_engine(root: Path) -> None:
    edit(root, "scales/mini.yaml", "  llama31_1m:\n", "  llama31_1m:\n    torch: [cpt_1m]\n")
    with pytest.raises(SpecError, match=r"llama31_1m\.torch: found stages; allowed: none with engine torch"):
        Project.load(root).resolve("llama31_1m", "mini")


def test_ranks_that_models_cannot_be_divided_over_are_told(root: Path) -> None:
    edit(
        root,
        NEMO,
        "pipelines:\n",
        "pipelines:\n  llama31_1m:\n    executions: {cpt_1m: {ranks: 6, parallel: {tp: 2, cp: 2}}}\n",
    )
    with pytest.raises(SpecError, match=r"executions\.cpt_1m\.ranks: found 6 ranks, with tp 2, pp 1 and cp 2") as told:
        Project.load(root).resolve("llama31_1m", "mini_nemo")
    assert "a multiple of tp * pp * cp, which is 4" in str(told.value)


def test_a_stage_of_an_older_result_has_no_layout() -> None:
    """Its stage.json says nothing of one: the torch engine made it."""
    stage = Project.load(ROOT).resolve("llama31_1m", "mini").stages["cpt_256k"]
    written = stage.execution.model_dump(mode="json")
    assert written.pop("parallel") is None
    again = Execution.model_validate_json(Execution.model_construct(**written).model_dump_json())
    assert (again.parallel, again.dp) == (None, 1)
