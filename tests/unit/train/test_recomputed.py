"""Activations that are computed again: the bits of those that are kept, nothing counted twice, memory saved."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from stages.contract import ledger
from stages.models.build import build
from stages.models.layers import ATTENTION, Layers
from stages.spec.resolved import Stage
from stages.store import stage_record
from stages.train.replicated import gather
from tests.live import Live
from tests.unit.train import tiny
from tests.unit.train.beginning import begin

CASES = ("next_token", "looped", "moe", "align", "joint", "coca", "sft")


def under(stage: Stage, activations: str, engine_class: str = "torch-fp32") -> Stage:
    execution = stage.execution.model_copy(update={"activations": activations})
    return stage.model_copy(update={"execution": execution, "engine_class": engine_class})


def two_steps(stage: Stage) -> tuple[list[Any], dict[str, Tensor]]:
    """Gradients and values of two steps, and all weights and buffers after them."""
    modules = build(stage)
    optimizer, made = begin(stage, modules)
    found = []
    for step in list(ledger.steps(stage.phases[0]))[:2]:
        gradients, values = gather(optimizer, made, step)
        found.append([*(gradient.clone() for gradient in gradients), *values])
        optimizer.step(optimizer.clip(gradients), 1e-2)
        made.finish()
    return found, dict(modules.state_dict())


@pytest.mark.parametrize("engine_class", ["torch-fp32", "torch-bf16"])
@pytest.mark.parametrize("objective", CASES)
def test_the_bits_are_those_of_kept_activations(objective: str, engine_class: str) -> None:
    kept, kept_state = two_steps(under(tiny.make(objective), "kept", engine_class))
    again, again_state = two_steps(under(tiny.make(objective), "recomputed", engine_class))
    for mine, other in zip(again, kept, strict=True):
        assert all(map(torch.equal, mine, other))
    assert all(torch.equal(again_state[name], tensor) for name, tensor in kept_state.items())


@pytest.mark.parametrize("activations", ["kept", "recomputed"])
def test_a_router_counts_a_token_once(activations: str) -> None:
    stage = under(tiny.make("moe"), activations)
    lm: Any = build(stage)["llm"]
    tokens = torch.arange(tiny.CONTEXT)[None] % tiny.VOCAB
    lm(tokens, torch.arange(tiny.CONTEXT)[None], None, None).sum().backward()
    (counts,) = lm.router_counts()
    assert int(counts.sum()) == tiny.CONTEXT * tiny.MOONLIGHT.active_experts
    assert lm.aux_loss().item() > 0


def tall(layers: int) -> Any:
    """A Llama of so many layers, small beside its rows."""
    model = tiny.LLAMA.model_copy(update={"layers": layers})
    stage = tiny.stage({"llm": model}, (tiny.phase("next_token"),), ("llm",))
    return build(under(stage, "recomputed"))["llm"]


def forward_and_backward(lm: Any, length: int) -> tuple[int, int]:
    """Bytes alive after a forward pass of one row, and at the peak of both passes."""
    tokens, positions = torch.arange(length)[None] % tiny.VOCAB, torch.arange(length)[None]
    with Live() as live:
        states = lm(tokens, positions, None, None)
        after = live.now
        states.sum().backward()
    return after, live.peak


def of_a_layer(length: int) -> int:
    """Bytes that a recomputed layer keeps: its input, and attention's output and normalisers."""
    model = tiny.LLAMA
    return length * (model.hidden + model.heads * model.head_dim + model.heads) * torch.float32.itemsize


def test_a_layer_keeps_its_input_and_what_attention_put_out() -> None:
    length = 512
    (four, _), (eight, _) = (forward_and_backward(tall(layers), length) for layers in (4, 8))
    assert eight - four == 4 * of_a_layer(length)


def test_attention_is_not_run_a_second_time() -> None:
    calls: list[str] = []

    class Counted(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            calls.append(func.name())
            return func(*args, **(kwargs or {}))

    with Counted():
        forward_and_backward(tall(4), 64)
    assert sum(name in ATTENTION for name in calls) == 4
    assert sum(name == "aten::mm" for name in calls) > 0


def test_the_backward_pass_has_one_layer_at_a_time() -> None:
    length = 512
    (_, four), (_, eight) = (forward_and_backward(tall(layers), length) for layers in (4, 8))
    weights = sum(parameter.nbytes for parameter in tall(4).model.layers.parameters())
    assert eight - four <= 4 * of_a_layer(length) + weights


def test_without_a_gradient_nothing_is_kept_for_a_second_run() -> None:
    lm = tall(4)
    tokens = torch.zeros(1, 8, dtype=torch.int64)
    with torch.no_grad():
        assert not lm(tokens, torch.arange(8)[None], None, None).requires_grad
    assert sum(isinstance(module, Layers) and module.recomputed for module in lm.modules()) == 1


def test_a_stage_of_before_kept_its_activations() -> None:
    """stage.json of earlier results does not say so; any other field that is missing is an error."""
    stage = tiny.make("next_token")
    written = json.loads(stage_record.encode(under(stage, "recomputed")))
    del written["execution"]["activations"]
    assert Stage.model_validate_json(json.dumps(written)) == stage
    del written["execution"]["ranks"]
    with pytest.raises(ValueError, match="ranks"):
        Stage.model_validate_json(json.dumps(written))
