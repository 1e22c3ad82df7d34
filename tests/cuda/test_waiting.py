"""A step on a GPU waits for it once, when the loss and the norm are read; and gives the same bits in every run.

torch raises at the call that waits. On a CPU nothing waits: there a rehearsal sees only that the test itself works.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
import torch
from torch import Tensor

from stages.contract import ledger
from stages.models.build import build
from stages.models.layers import recompute
from stages.models.ops import choice
from stages.train.determinism import deterministic
from stages.train.optimizer import Clipped
from stages.train.replicated import gather
from tests.cuda import stages
from tests.traced.steps import make
from tests.unit.train.beginning import begin

ROUTED = ("align", "joint", "moe", "probabilities")
KINDS = (*stages.KINDS, "windows", "capped scores", "probabilities", "z-loss and average")


@contextmanager
def waiting_raises(device: torch.device) -> Iterator[None]:
    if device.type != "cuda":
        yield
        return
    torch.cuda.synchronize()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # "a prototype feature", which does not see every wait
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def step(
    kind: str, precision: stages.Precision, device: torch.device, watched: bool, **execution: str
) -> dict[str, Tensor]:
    """Two steps of a stage, the second without waiting; then its gradients and trained weights, by name."""
    stage = stages.on(make(kind), device, precision, **execution)
    phase = stage.phases[0]
    modules = build(stage, str(device))
    recompute(modules, stage.execution.recomputes)
    optimizer, made = begin(stage, modules, device)

    def one(consumed: int) -> tuple[Clipped, Tensor]:
        gradients, values = gather(optimizer, made, ledger.step_at(phase, consumed))
        clipped = optimizer.clip(gradients)
        return clipped, torch.stack([values[0], clipped.norm, *values[1:]])

    with closing(made), deterministic(stage.execution):
        clipped, numbers = one(0)  # what is made once: tables on the device, cuBLAS's workspaces
        optimizer.step(clipped, 1e-3)
        made.finish()
        if watched:
            with waiting_raises(device):
                clipped, numbers = one(ledger.step_at(phase, 0).end)
            assert numbers.isfinite().all()  # the one wait
            with waiting_raises(device):
                optimizer.step(clipped, 1e-3)
                made.finish()
    names = [slot.name for slot in optimizer.slots]
    weights = dict(zip(names, (parameter.detach() for parameter in optimizer.parameters), strict=True))
    return weights | dict(zip((f"{name}.gradient" for name in names), clipped.gradients, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_in_bf16_a_step_waits_for_its_loss_alone(kind: str, device: torch.device) -> None:
    if device.type == "cuda" and kind in ROUTED and "grouped_mm" not in choice.features():
        pytest.skip("this GPU has no grouped product that does not wait: an H100 has")
    step(kind, "torch-bf16", device, watched=True)


@pytest.mark.parametrize("kind", [kind for kind in stages.KINDS if kind not in ROUTED])
def test_in_fp32_too_but_for_routed_experts(kind: str, device: torch.device) -> None:
    step(kind, "torch-fp32", device, watched=True)


@pytest.mark.parametrize("kind", ["next_token", "looped", "moe", "windows"])
def test_recomputed_layers_have_the_same_bits_and_do_not_wait(kind: str, device: torch.device) -> None:
    if device.type == "cuda" and kind in ROUTED and "grouped_mm" not in choice.features():
        pytest.skip("this GPU has no grouped product that does not wait: an H100 has")
    kept, again = (step(kind, "torch-bf16", device, True, activations=how) for how in ("kept", "recomputed"))
    assert not stages.unequal(kept, again)


@pytest.mark.parametrize("precision", ["torch-fp32", "torch-bf16"])
@pytest.mark.parametrize("kind", stages.KINDS)
def test_gradients_have_the_same_bits_in_every_run(
    kind: str, precision: stages.Precision, device: torch.device
) -> None:
    one, other = (step(kind, precision, device, watched=False) for _ in range(2))
    assert not stages.unequal(one, other)
