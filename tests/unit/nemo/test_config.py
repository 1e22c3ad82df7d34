"""The NeMo engine's configuration, which needs no Megatron: what of it follows from the stage, and what never may."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages.commands.emit import engine_config
from stages.contract import ledger, rope, schedule
from stages.engines.nemo import variables
from stages.engines.nemo.config import config, rows, services, training
from stages.engines.nemo.config.layers import LAYERS, MLA
from stages.engines.nemo.config.machine import MACHINE
from stages.errors import UserError
from stages.spec.families.moonlight import MoonlightModel
from stages.spec.project import Project
from stages.spec.resolved import Stage
from stages.spec.resolved_parallel import Parallel, Recompute

ROOT = Path(__file__).parents[3]
PROJECT = Project.load(ROOT)
FIXED = {
    "model": {**LAYERS, **MACHINE, **MLA}, "optimizer": training.OPTIMIZER, "train": training.TRAIN,
    "checkpoint": services.CHECKPOINT, "dist": services.DIST, "scheduler": training.SCHEDULER, "ddp": training.DDP,
    "tokenizer": services.TOKENIZER, "validation": training.VALIDATION, "rng": services.RNG,
}  # fmt: skip


def stage(pipeline: str, name: str) -> Stage:
    return PROJECT.resolve(pipeline, "mini_nemo").stages[name]


def laid(one: Stage, ranks: int, **layout: Any) -> Stage:
    """A stage with another layout."""
    assert one.execution.parallel is not None
    parallel = one.execution.parallel.model_copy(update=layout)
    return one.model_copy(update={"execution": one.execution.model_copy(update={"ranks": ranks, "parallel": parallel})})


def section(one: Stage, name: str, phase: int = 0) -> dict[str, Any]:
    found = config(one, one.phases[phase])[name]
    assert found is not None
    return found


def test_it_is_made_without_torch_and_without_megatron() -> None:
    code = "import sys, stages.engines.nemo.config; print([one for one in ('torch', 'megatron') if one in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[]\n"


def test_its_variables_are_set_before_anything_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """NCCL adds in the order of its algorithm, which it chooses by itself unless one is set."""
    on_cpu = stage("llama31_1m", "cpt_1m")
    on_gpu = on_cpu.model_copy(update={"execution": on_cpu.execution.model_copy(update={"device": "cuda"})})
    names = ("CUBLAS_WORKSPACE_CONFIG", "NCCL_ALGO", "NVTE_ALLOW_NONDETERMINISTIC_ALGO")
    for name in (*names, *variables.ATTENTION):
        monkeypatch.setenv(name, "")  # so that it is as before afterwards
        monkeypatch.delenv(name)
    variables.set_all(on_cpu)
    assert not set(names) & set(os.environ)
    variables.set_all(on_gpu)
    assert {name: os.environ[name] for name in names} == section(on_gpu, "env_vars")
    monkeypatch.setenv("NCCL_ALGO", "Tree")
    with pytest.raises(UserError, match=r"environment: NCCL_ALGO=Tree; allowed with .* Ring"):
        variables.set_all(on_gpu)


@pytest.mark.parametrize("name", variables.ATTENTION)
def test_kernels_of_transformer_engine_are_not_chosen_where_core_asserts_that_none_is(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for one in variables.ATTENTION:
        monkeypatch.setenv(one, "0")
    variables.set_all(stage("llama31_1m", "cpt_1m"))
    monkeypatch.setenv(name, "1")
    with pytest.raises(UserError, match=rf"environment: {name}=1; allowed on the NeMo engine: 0, "):
        variables.set_all(stage("llama31_1m", "cpt_1m"))


def test_without_assertions_nothing_is_begun() -> None:
    code = (
        "from types import SimpleNamespace as Of\nfrom stages.engines.nemo import variables\n"
        "variables.set_all(Of(execution=Of(device='cpu')))"
    )
    done = [
        subprocess.run([sys.executable, *given, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
        for given in ((), ("-O",), ("-OO",))
    ]
    assert [one.returncode for one in done] == [0, 1, 1]
    wanted = [False, True, True]
    assert ["; allowed on the NeMo engine: neither" in one.stderr for one in done] == wanted


def test_no_field_is_both_fixed_and_the_stages() -> None:
    """A fixed value would silently win over a stage's."""
    one = stage("kimi_vl", "text_pretrain")
    for name, fixed in FIXED.items():
        found = section(one, name)
        own = [key for key in found if key not in fixed]
        assert len(own) + len(fixed) == len(found)
        assert {key: found[key] for key in fixed} == fixed


def test_rates_weights_and_budgets_are_the_stages() -> None:
    one = stage("llama31_1m", "cpt_512k")
    (phase,) = one.phases
    assert one.schedule is not None
    assert one.optimizer is not None
    optimizer, train = section(one, "optimizer"), section(one, "train")
    assert optimizer["lr"] == schedule.lr(one.schedule, phase.clock_start + ledger.step_at(phase, 0).end)
    assert (optimizer["adam_beta1"], optimizer["adam_beta2"]) == (one.optimizer.beta1, one.optimizer.beta2)
    assert (train["train_iters"], train["micro_batch_size"]) == (ledger.count(phase), phase.micro_batch)
    assert section(one, "rng")["seed"] == one.seed
    assert section(one, "stages")["clock"] == [phase.clock_start, phase.clock_start + phase.budget]


def test_rotary_frequencies_are_the_contracts_and_no_scaling_is_left_to_core() -> None:
    one = stage("llama31_1m", "cpt_1m")
    model = section(one, "model")
    assert one.rope is not None
    assert section(one, "stages")["inv_freq"] == rope.inv_freq(one.rope, model["kv_channels"])
    assert (model["rope_scaling"], model["seq_len_interpolation_factor"], model["rotary_base"]) == (
        False, None, one.rope.base,
    )  # fmt: skip


def test_every_replica_has_as_many_micro_batches() -> None:
    phase = stage("ouro", "stable_1").phases[0]
    most = max(step.sequences for step in phase.batch)
    assert [rows(phase, dp) for dp in (1, 2, 3)] == [
        most,
        most,
        -(-most // (3 * phase.micro_batch)) * 3 * phase.micro_batch,
    ]
    assert section(laid(stage("ouro", "stable_1"), 3), "train")["global_batch_size"] == rows(phase, 3)


def test_a_layout_is_in_the_fields_of_ranks() -> None:
    one = laid(
        stage("llama31_1m", "cpt_1m"), 16, tp=2, pp=2, vpp=1, cp=2, sequence_parallel=True, distributed_optimizer=True
    )
    model = section(one, "model")
    assert [model[f"{name}_model_parallel_size"] for name in ("tensor", "pipeline", "expert")] == [2, 2, 1]
    assert (model["context_parallel_size"], model["sequence_parallel"]) == (2, True)
    assert model["virtual_pipeline_model_parallel_size"] is None
    assert (
        section(one, "ddp")["use_distributed_optimizer"]
        is section(one, "optimizer")["use_distributed_optimizer"]
        is True
    )
    assert section(one, "train")["global_batch_size"] % one.execution.dp == 0


@pytest.mark.parametrize(
    ("recompute", "granularity", "method", "modules"),
    [("none", None, None, []), ("selective", "selective", None, ["core_attn"]), ("full", "full", "uniform", [])],
)
def test_what_is_computed_again(recompute: Recompute, granularity: str, method: str, modules: list[str]) -> None:
    model = section(laid(stage("llama31_1m", "cpt_1m"), 1, recompute=recompute), "model")
    found = model["recompute_granularity"], model["recompute_method"], model["recompute_modules"]
    assert found == (granularity, method, modules)


def test_routed_experts_are_the_models_and_what_core_would_do_to_balance_them_is_off() -> None:
    one = stage("kimi_vl", "text_pretrain")
    model, moonlight = section(one, "model"), one.modules["llm"]
    assert isinstance(moonlight, MoonlightModel)
    assert model["num_moe_experts"] == moonlight.experts
    assert model["moe_layer_freq"] == [0, 1, 1]
    assert (model["moe_router_enable_expert_bias"], model["moe_aux_loss_coeff"]) == (False, 0.0)
    router = one.phases[0].router
    assert router is not None
    assert section(one, "stages")["router"] == router.model_dump()
    assert "kv_lora_rank" not in section(stage("llama31_1m", "cpt_1m"), "model")


def test_each_phase_has_its_own() -> None:
    one = stage("kimi_vl", "joint_longctx")
    assert [section(one, "model", phase)["seq_length"] for phase in (0, 1)] == [
        one.phases[0].context,
        one.phases[1].context,
    ]


def test_widths_follow_the_class() -> None:
    fp32 = stage("llama31_1m", "cpt_1m")
    bf16 = fp32.model_copy(update={"engine_class": "nemo-bf16"})
    for one, width in ((fp32, "float32"), (bf16, "bfloat16")):
        model = section(one, "model")
        assert (model["params_dtype"], model["pipeline_dtype"], model["bf16"]) == (width, width, width == "bfloat16")
        assert section(one, "optimizer")["bf16"] is model["bf16"]
        assert section(one, "optimizer")["main_params_dtype"] == "float32"


def test_nothing_is_dropped_skipped_or_averaged_by_a_default() -> None:
    one = stage("llama31_1m", "sft_1m")
    model, ddp = section(one, "model"), section(one, "ddp")
    assert (model["hidden_dropout"], model["attention_dropout"]) == (0.0, 0.0)
    assert (model["calculate_per_token_loss"], ddp["average_in_collective"]) == (True, False)
    assert section(one, "optimizer")["grad_norm_skip_threshold"] == float("inf")
    assert section(one, "scheduler")["override_opt_param_scheduler"] is True


def test_a_stage_of_the_torch_engine_has_none() -> None:
    one = PROJECT.resolve("llama31_1m", "mini").stages["cpt_1m"]
    with pytest.raises(ValueError, match="llama31_1m/cpt_1m is not trained by the NeMo engine"):
        config(one, one.phases[0])


def test_its_yaml_says_the_same_for_every_phase() -> None:
    one = stage("kimi_vl", "joint_longctx")
    read = [next(iter(yaml.safe_load_all(text))) for text in engine_config(one)]
    assert read == [config(one, phase) for phase in one.phases]


def test_no_place_of_a_machine_is_in_it() -> None:
    """Paths, ranks and ports are the run's."""
    text = "".join(engine_config(stage("llama31_1m", "cpt_1m")))
    assert str(ROOT) not in text
    assert "/" not in "".join(line for line in text.splitlines() if not line.startswith("---"))


def test_parallel_is_what_the_scale_says() -> None:
    assert stage("llama31_1m", "cpt_256k").execution.parallel == Parallel(
        tp=1, pp=1, cp=1, ep=1, vpp=1, sequence_parallel=False, distributed_optimizer=False, recompute="none"
    )  # fmt: skip
