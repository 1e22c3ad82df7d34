"""Stages of class torch-bf16: products in bf16, all that is kept and added up in fp32, and fp32's numbers but for that.

How far the two may lie apart is measured, not guessed: by as much as the fp32 gradient moves where every weight is off
by what three roundings to bf16 amount to (`tests.rounding.noise`).
"""

from __future__ import annotations

import math
from collections import Counter
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from stages.contract import ledger
from stages.engines.torch_trainer import freeze
from stages.models import ops
from stages.models.build import build
from stages.models.layers import recompute
from stages.models.moe import Router
from stages.spec.resolved import Stage
from stages.train import replicated
from stages.train.objectives.base import precision, weights_rounded_once
from stages.train.optimizer import Optimizer
from stages.train.replicated import gather
from tests.rounding import BF16, LAMBDA
from tests.unit.train import tiny
from tests.unit.train.beginning import begin

KINDS = (*tiny.OBJECTIVES, "moe")


def computed(stage: Stage, modules: nn.ModuleDict) -> tuple[Optimizer, list[Tensor], list[Tensor]]:
    """Gradients and values of the first step."""
    optimizer, made = begin(stage, modules)
    gradients, values = gather(optimizer, made, ledger.step_at(stage.phases[0], 0))
    return optimizer, gradients, values


def flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


@torch.no_grad()
def moved(stage: Stage, gradients: Tensor, loss: Tensor) -> tuple[float, float]:
    """How far gradients and loss move, in the mean of four times, with every weight off by three roundings to bf16."""
    generator, of_gradients, of_loss = torch.Generator().manual_seed(0), [], []
    for _ in range(4):
        modules = build(stage)
        for parameter in modules.parameters():
            signs = torch.randint(0, 2, parameter.shape, generator=generator) * 2 - 1
            parameter.mul_(1 + signs * 3**0.5 * BF16)
        with torch.enable_grad():
            _, other, values = computed(stage, modules)
        of_gradients.append((flat(other) - gradients).norm().item())
        of_loss.append((values[0] - loss).item())
    return mean_square(of_gradients), mean_square(of_loss)


def mean_square(numbers: list[float]) -> float:
    return math.sqrt(sum(number * number for number in numbers) / len(numbers))


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_step_is_fp32s_up_to_roundings_of_products(kind: str) -> None:
    stage = tiny.make(kind)
    half = stage.model_copy(update={"engine_class": "torch-bf16"})
    _, exact, values = computed(stage, build(stage))
    _, found, other = computed(half, build(half))
    of_gradients, of_loss = moved(stage, flat(exact), values[0])
    assert (flat(found) - flat(exact)).norm() <= of_gradients  # a sum over all elements: it hardly varies
    assert (other[0] - values[0]).abs() <= LAMBDA * of_loss  # a single number, which does
    assert not torch.equal(flat(found), flat(exact))


@pytest.mark.parametrize("kind", KINDS)
def test_weights_gradients_moments_and_values_stay_fp32(kind: str) -> None:
    stage = tiny.make(kind).model_copy(update={"engine_class": "torch-bf16"})
    modules = build(stage)
    optimizer, gradients, values = computed(stage, modules)
    optimizer.step(optimizer.clip(gradients), 1e-3)
    moments = [tensor for name, tensor in optimizer.state().items() if not name.endswith(".step")]
    for tensor in [*modules.parameters(), *gradients, *moments, *values]:
        assert tensor.dtype == torch.float32


class Rounded(TorchDispatchMode):
    """Counts how often each weight is rounded to bf16."""

    def __init__(self, modules: nn.ModuleDict) -> None:
        super().__init__()
        self.names = {weight.data_ptr(): name for name, weight in modules.named_parameters() if weight.requires_grad}
        self.times: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._to_copy.default and kwargs["dtype"] == torch.bfloat16:
            self.times.update(filter(None, [self.names.get(args[0].data_ptr())]))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("activations", ["kept", "recomputed"])
@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_rounded_once_a_step_unless_layers_are_computed_again(
    kind: str, activations: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = tiny.make(kind)
    execution = stage.execution.model_copy(update={"activations": activations})
    stage = stage.model_copy(update={"engine_class": "torch-bf16", "execution": execution})

    def step() -> tuple[list[Tensor], Counter[str]]:
        modules = build(stage)
        freeze(stage, modules)
        recompute(modules, execution.recomputes)
        with Rounded(modules) as rounded:
            _, gradients, values = computed(stage, modules)
        return [*gradients, *values], rounded.times

    found, times = step()
    monkeypatch.setattr(replicated, "weights_rounded_once", lambda stage: nullcontext())
    wanted, each = step()
    assert all(map(torch.equal, found, wanted)), "the same bits"
    if activations == "kept":
        own = ("lm_head.weight", ".experts.", "contrastive.")  # rounded by themselves, or for the whole batch
        assert {each[name] - times[name] for name in each if not any(part in name for part in own)} == {1}
    else:
        assert times == each


@pytest.mark.parametrize(("kept", "times"), [(True, 1), (False, 3)])
def test_rounded_weights_are_kept_within_a_pass_or_made_where_they_are_read(kept: bool, times: int) -> None:
    """An evaluation of a large model does without a rounded copy of all its weights."""
    stage, layer = tiny.make("next_token").model_copy(update={"engine_class": "torch-bf16"}), nn.Linear(4, 4)
    with Rounded(nn.ModuleDict({"llm": layer})) as rounded, precision(stage, kept):
        for _ in range(3):
            layer(torch.ones(1, 4))
    assert rounded.times["llm.weight"] == times


def test_a_step_that_fails_leaves_autocast_as_it_was() -> None:
    """Else what a later evaluation rounds would be taken for weights of a later step."""

    def depth() -> int:
        torch.autocast_increment_nesting()
        found: int = torch.autocast_decrement_nesting()
        return found

    def fail() -> None:
        with weights_rounded_once(tiny.make("next_token")):
            assert depth() == before + 1
            raise ZeroDivisionError

    before = depth()
    with pytest.raises(ZeroDivisionError):
        fail()
    assert depth() == before


def wide(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_norms_are_computed_in_fp32() -> None:
    x, gain = wide(3, 16).bfloat16(), wide(16, seed=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = ops.rms_norm(x, gain, 1e-5)
    assert torch.equal(found, ops.rms_norm(x.float(), gain, 1e-5))


@pytest.mark.parametrize("interleaved", [False, True])
def test_rotations_are_computed_in_fp32_and_rounded_once(interleaved: bool) -> None:
    x, angles = wide(2, 5, 3, 8).bfloat16().requires_grad_(), wide(2, 5, 1, 4, seed=1) * 100
    outer = wide(2, 5, 3, 8, seed=2).bfloat16()
    tables = angles.cos(), angles.sin()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = ops.rotate(x, *tables, interleaved=interleaved)
    exact = ops.rotate(x.float(), *tables, interleaved=interleaved)
    assert torch.equal(found, exact.bfloat16())
    (gradient,) = torch.autograd.grad(found, x, outer)
    (wanted,) = torch.autograd.grad(exact, x, outer.float())
    assert torch.equal(gradient, wanted)


def test_a_router_chooses_and_weighs_in_fp32_whatever_autocast_says() -> None:
    mixture = tiny.MOONLIGHT.parts.mixture
    assert mixture is not None
    router, x = Router(tiny.MOONLIGHT.hidden, mixture), wide(40, 16)
    nn.init.normal_(router.weight, generator=torch.Generator().manual_seed(1))
    plain = router(x, None)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = router(x, None)
    assert all(torch.equal(mine, other) for mine, other in zip(found, plain, strict=True))


def test_losses_are_fp32_of_logits_in_bf16() -> None:
    logits, labels = wide(6, 11) * 20, torch.tensor([0, 10, -100, 3, 3, 7])
    rounded = logits.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = ops.cross_entropy(rounded, labels)
    assert found.dtype == torch.float32
    assert torch.equal(found, ops.cross_entropy(rounded.float(), labels))
