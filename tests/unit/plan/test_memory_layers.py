"""What plans say that layers keep, against the tensors that the models do keep, byte by byte."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from stages.contract import memory_layers
from stages.models import masks
from stages.models.build import make
from stages.models.documents import Documents
from stages.models.layers import recompute
from stages.spec.families.gemma2 import Gemma2Model
from stages.spec.families.gemma3 import Gemma3Model
from stages.spec.families.llama import LlamaModel
from stages.spec.families.moonlight import MoonlightModel
from stages.spec.families.olmo2 import Olmo2Model
from stages.spec.families.ouro import OuroModel
from stages.spec.families.qwen3 import Qwen3Model
from stages.spec.families.qwen3_moe import Qwen3MoeModel
from stages.spec.families.smollm3 import SmolLM3Model
from stages.spec.resolved_models import Model, MoonViTModel, Rope, TextTowerModel
from tests.live import Live

ROPE = Rope(base=10_000.0, llama3=None, interpolation=1.0)
ROWS, LENGTH = 2, 256
POSITIONS = ROWS * LENGTH
COMMON: dict[str, Any] = {"vocab": 64, "tied": False, "init_std": 0.02, "norm_eps": 1e-5}
STACK: dict[str, Any] = {"hidden": 64, "ffn": 176, "heads": 4, "kv_heads": 2, "head_dim": 16}
EXPERTS: dict[str, Any] = {
    "hidden": 64, "ffn": 176, "heads": 4, "kv_lora_rank": 32, "qk_nope_dim": 16, "qk_rope_dim": 8, "v_head_dim": 16,
    "experts": 8, "active_experts": 2, "shared_experts": 1, "expert_ffn": 48, "routed_scale": 2.0,
}  # fmt: skip


def llama(layers: int) -> LlamaModel:
    return LlamaModel(family="llama", layers=layers, **STACK, **COMMON)


def ouro(layers: int) -> OuroModel:
    return OuroModel(family="ouro", layers=layers, **STACK | {"kv_heads": 4}, **COMMON, post_norm_gain=1.0)


def moonlight(layers: int) -> MoonlightModel:
    return MoonlightModel(family="moonlight", layers=layers, dense_layers=0, **EXPERTS, **COMMON)


def qwen3(layers: int) -> Qwen3Model:
    return Qwen3Model(family="qwen3", layers=layers, **STACK, **COMMON)


def olmo2(layers: int) -> Olmo2Model:
    sizes = {name: size for name, size in STACK.items() if name != "head_dim"}
    return Olmo2Model(family="olmo2", layers=layers, **sizes, **COMMON)


def without_positions(layers: int) -> SmolLM3Model:
    sizes = {name: size for name, size in STACK.items() if name != "head_dim"}
    return SmolLM3Model(family="smollm3", layers=layers, **sizes, **COMMON, nope_every=1)


def gemma2(layers: int) -> Gemma2Model:
    return Gemma2Model(
        family="gemma2", layers=layers, **STACK, **COMMON, query_scalar=16, window=40, full_every=9, score_softcap=50.0,
        logit_softcap=30.0,
    )  # fmt: skip


def gemma3(layers: int) -> Gemma3Model:
    return Gemma3Model(
        family="gemma3", layers=layers, **STACK, **COMMON, query_scalar=16, window=40, full_every=6,
        local_rope_base=10_000.0,
    )  # fmt: skip


def qwen3_moe(layers: int) -> Qwen3MoeModel:
    return Qwen3MoeModel(
        family="qwen3_moe", layers=layers, **STACK, **COMMON, experts=8, active_experts=2, expert_ffn=48
    )  # fmt: skip


def vit(layers: int) -> MoonViTModel:
    return MoonViTModel(
        family="moonvit", layers=layers, hidden=64, ffn=176, heads=4, patch=4, channels=1, table=8, rope_base=10_000.0,
        norm_eps=1e-5, init_std=0.02,
    )  # fmt: skip


def tower(layers: int) -> TextTowerModel:
    return TextTowerModel(
        family="text_tower", layers=layers, hidden=64, ffn=176, heads=4, vocab=64, length=32, norm_eps=1e-5,
        init_std=0.02,
    )  # fmt: skip


def alive(model: Model, documents: bool, bf16: bool, recomputed: bool) -> int:
    """Bytes that are there after a forward pass of POSITIONS positions."""
    module: Any = make(model, ROPE, "cpu")
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    recompute(module, recomputed)
    tokens = torch.zeros(ROWS, LENGTH, dtype=torch.int64)
    segments = np.cumsum(np.arange(LENGTH) % 100 == 99, dtype=np.int32)[None].repeat(ROWS, 0)
    where = Documents(segments, torch.device("cpu")) if documents else None
    run = partial(_forward, module, model, tokens, where)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        with torch.no_grad():
            run()  # what all layers share and later passes find is no layer's
        with Live() as live:
            kept = run()
            found = live.now
    del kept
    return found


def _forward(module: Any, model: Model, tokens: Any, where: Documents | None) -> Any:
    if model.family == "moonvit":
        return module(torch.zeros(POSITIONS, 16), [(16, 16)] * ROWS)
    if model.family == "text_tower":
        return module(tokens.view(-1, 32))
    return module(tokens, torch.arange(tokens.shape[1]).expand_as(tokens), where, None, *_loops(model))


def _loops(model: Model) -> tuple[int, ...]:
    return (1,) if model.family == "ouro" else ()


def a_layer(of: Any, documents: bool, bf16: bool = False, recomputed: bool = False) -> float:
    """Bytes a position that one layer more keeps, without its weights' copies in bf16."""
    more = alive(of(2), documents, bf16, recomputed) - alive(of(1), documents, bf16, recomputed)
    weights = sum(parameter.numel() for parameter in make(of(2), ROPE, "meta").parameters())
    weights -= sum(parameter.numel() for parameter in make(of(1), ROPE, "meta").parameters())
    return (more - (2 * weights if bf16 else 0)) / POSITIONS


@pytest.mark.parametrize(
    "of", [llama, ouro, moonlight, qwen3, qwen3_moe, olmo2, without_positions, gemma2, gemma3, vit, tower]
)
def test_in_fp32_a_layer_keeps_what_the_plan_says(of: Any) -> None:
    planned = memory_layers.saved(of(1), False, POSITIONS, LENGTH).bytes(bf16=False)
    found = a_layer(of, documents=False)
    assert found <= planned <= 1.1 * found


@pytest.mark.parametrize("of", [llama, ouro, moonlight, qwen3, qwen3_moe, olmo2, without_positions, gemma3])
def test_between_documents_rows_are_filled_up(of: Any) -> None:
    planned = memory_layers.saved(of(1), True, POSITIONS, LENGTH).bytes(bf16=False)
    found = a_layer(of, documents=True)
    assert found <= planned <= 1.15 * found


@pytest.mark.parametrize(
    "of", [llama, ouro, moonlight, qwen3, qwen3_moe, olmo2, without_positions, gemma2, gemma3, vit, tower]
)
def test_in_bf16_a_layer_keeps_no_more_than_the_plan_says(of: Any) -> None:
    planned = memory_layers.saved(of(1), False, POSITIONS, LENGTH).bytes(bf16=True)
    found = a_layer(of, documents=False, bf16=True)
    assert found <= planned <= 1.25 * found


@pytest.mark.parametrize("documents", [False, True])
@pytest.mark.parametrize(
    "of", [llama, ouro, moonlight, qwen3, qwen3_moe, olmo2, without_positions, gemma2, gemma3, vit, tower]
)
def test_recomputed_a_layer_keeps_its_input_and_what_attention_put_out(of: Any, documents: bool) -> None:
    planned = 4 * of(1).hidden + memory_layers.attended(of(1), documents, bf16=False)
    found = a_layer(of, documents, recomputed=True)
    assert 0.999 * found <= planned <= (1.15 if documents else 1.01) * found


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("of", [llama, gemma2, gemma3])
def test_one_mask_of_each_kind_stays_whatever_rows_and_documents_follow(of: Any, bf16: bool) -> None:
    """Kinds are windows and none; a kernel needs no mask of none where scores are not capped."""
    model = of(9)
    module: Any = make(model, ROPE, "cpu")

    def pass_of(length: int, ends: int) -> None:
        segments = (np.arange(length) // ends).astype(np.int32)[None].repeat(ROWS, 0)
        tokens = torch.zeros(ROWS, length, dtype=torch.int64)
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            _forward(module, model, tokens, Documents(segments, torch.device("cpu")))

    pass_of(8, 8)  # rotary frequencies, which stay too
    masks._longest.cache_clear()
    with Live() as live:
        for length in (LENGTH // 2, LENGTH, 60):
            for ends in (100, 70, length):
                pass_of(length, ends)
        found = live.now
    masks._longest.cache_clear()
    assert found == memory_layers.masks(model, LENGTH, bf16, on_gpu=False)


def test_on_a_gpu_windows_in_bf16_need_no_mask() -> None:
    assert memory_layers.masks(gemma3(9), LENGTH, bf16=True, on_gpu=True) == 0
    assert memory_layers.masks(gemma3(9), LENGTH, bf16=False, on_gpu=True) == 4 * LENGTH**2
    assert memory_layers.masks(gemma2(9), LENGTH, bf16=True, on_gpu=True) == 2 * 4 * LENGTH**2
    assert memory_layers.masks(gemma3(9), 40, bf16=False, on_gpu=True) == 0, "the window ends with the row"
