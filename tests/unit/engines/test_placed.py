"""Modules that are evaluated on another device than they are kept on: copies, in bf16 where products read bf16."""

from __future__ import annotations

import pytest
import torch

from stages.engines import placed
from stages.models.build import build
from stages.spec.resolved import Stage
from stages.spec.resolved_models import Model
from stages.spec.resolved_parallel import Parallel
from tests.unit.train import tiny

CPU = torch.device("cpu")
HOW = Parallel(tp=1, pp=1, cp=1, ep=1, vpp=1, sequence_parallel=False, distributed_optimizer=False, recompute="none")


def on_nemo(model: Model, engine_class: str = "nemo-bf16") -> Stage:
    stage = tiny.stage({"llm": model}, (tiny.phase("next_token"),), ("llm",))
    execution = stage.execution.model_copy(update={"engine": "nemo", "parallel": HOW, "device": "cuda"})
    return stage.model_copy(update={"execution": execution, "engine_class": engine_class})


@pytest.mark.parametrize("model", [tiny.LLAMA, tiny.MOONLIGHT], ids=["llama", "moonlight"])
def test_copies_in_bf16_change_no_bit_of_what_autocast_computes(model: Model) -> None:
    stage = on_nemo(model)
    modules = build(stage)
    tokens = torch.arange(tiny.CONTEXT)[None]

    def logits() -> torch.Tensor:
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = modules["llm"](tokens, tokens, None, None)
        return modules["llm"].logits(hidden)  # type: ignore[operator, no-any-return]

    before, weights = logits(), {name: one.data_ptr() for name, one in modules.named_parameters()}
    with placed.copied(stage, modules, CPU):
        assert logits().equal(before)
        kinds = {name: one.dtype for name, one in modules.named_parameters()}
    assert kinds["llm.model.layers.1.self_attn.o_proj.weight"] == torch.bfloat16
    whole = {name for name, kind in kinds.items() if kind == torch.float32}
    inside = {name.partition("layers.1.")[2] for name in whole} - {""}
    routed = {"self_attn.kv_a_layernorm.weight", "mlp.gate.weight"} if model is tiny.MOONLIGHT else set()
    assert inside == {"input_layernorm.weight", "post_attention_layernorm.weight"} | routed
    assert {"llm.model.embed_tokens.weight", "llm.lm_head.weight"} <= whole
    assert all(one.data_ptr() == weights[name] for name, one in modules.named_parameters()), "the same memory again"


def test_in_fp32_nothing_is_rounded() -> None:
    stage = on_nemo(tiny.LLAMA, "nemo-fp32")
    modules = build(stage)
    with placed.copied(stage, modules, CPU):
        assert {one.dtype for one in modules.parameters()} == {torch.float32}


def test_they_come_back_after_an_error() -> None:
    stage = on_nemo(tiny.LLAMA)
    modules = build(stage)
    with pytest.raises(ZeroDivisionError), placed.copied(stage, modules, CPU):
        1 / 0  # noqa: B018
    assert {one.dtype for one in modules.parameters()} == {torch.float32}


def test_the_torch_engine_evaluates_what_it_has() -> None:
    stage = tiny.make("next_token")
    modules = build(stage)
    with placed.evaluated(stage, modules):
        assert {one.dtype for one in modules.parameters()} == {torch.float32}
    assert placed.kept_on(stage) == CPU
