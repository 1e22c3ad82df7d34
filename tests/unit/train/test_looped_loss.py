"""What the looped objective computes, held against equation 4 of arXiv 2510.25741."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stages.contract import ledger
from stages.spec.resolved_phases import Loops
from stages.train.objectives.looped import exits
from stages.train.replicated import gather
from tests.unit.train import tiny
from tests.unit.train.beginning import last_step, rows, setting


def expected_loss(losses: Tensor, gates: Tensor, beta: float) -> tuple[Tensor, Tensor, Tensor]:
    """Equation 4 of arXiv 2510.25741 for each token."""
    p, entropy = exits(gates)
    return (p * losses).sum(0) - beta * entropy, entropy, p


def test_the_looped_loss_is_equation_4_token_by_token() -> None:
    torch.manual_seed(0)
    losses, gates, beta = torch.rand(3, 5), torch.randn(3, 5), 0.1
    loss, entropy, p = expected_loss(losses, gates, beta)
    for token in range(5):
        l1, l2, _ = torch.sigmoid(gates[:, token]).tolist()
        weights = [l1, (1 - l1) * l2, (1 - l1) * (1 - l2)]
        h = -sum(w * math.log(w) for w in weights)
        expected = sum(w * float(losses[loop, token]) for loop, w in enumerate(weights)) - beta * h
        assert loss[token].item() == pytest.approx(expected, rel=1e-5)
        assert entropy[token].item() == pytest.approx(h, rel=1e-5)
        assert p[:, token].tolist() == pytest.approx(weights, rel=1e-5)


@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, 1000.0])
@pytest.mark.parametrize("loops", [1, 2, 4])
def test_entropy_stays_between_0_and_log_t_also_for_saturated_gates(scale: float, loops: int) -> None:
    torch.manual_seed(1)
    gates = (torch.randn(loops, 64) * scale).requires_grad_()
    loss, entropy, p = expected_loss(torch.rand(loops, 64, requires_grad=True), gates, 0.1)
    loss.sum().backward()
    assert entropy.min() >= -1e-6
    assert entropy.max() <= math.log(loops) + 1e-6
    torch.testing.assert_close(p.sum(0), torch.ones(64))
    if loops > 1:  # with one loop no gate is asked
        assert gates.grad is not None
        assert gates.grad.isfinite().all()


def test_the_gates_gradient_equals_finite_differences() -> None:
    torch.manual_seed(2)
    losses = torch.rand(4, 3, dtype=torch.float64, requires_grad=True)
    gates = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: expected_loss(a, b, 0.05)[0], (losses, gates))


def test_one_loop_is_the_plain_loss() -> None:
    """With T = 1 the exit is certain, its entropy 0 and the loss that of the stack."""
    stage = tiny.stage({"llm": tiny.OURO}, (tiny.phase("looped", loops=Loops(count=1, beta=0.1)),), ("llm",))
    _, optimizer, made = setting(stage)
    step = ledger.step_at(stage.phases[0], 0)
    _, values = gather(optimizer, made, step)
    loss, entropy, exit_loop, first = (value.item() for value in values)
    assert entropy == 0.0
    assert exit_loop == 1.0
    assert loss == pytest.approx(first, rel=1e-6)


@pytest.mark.parametrize("z_loss", [None, 0.25])
def test_a_looped_step_is_equation_4_of_the_models_own_losses_and_gates(z_loss: float | None) -> None:
    beta, loops = 0.1, Loops(count=3, beta=0.1)
    stage = tiny.stage({"llm": tiny.OURO}, (tiny.phase("looped", loops=loops, z_loss=z_loss),), ("llm",))
    modules, optimizer, made = setting(stage)
    lm: Any = modules["llm"]
    with torch.no_grad():  # gates that differ from token to token
        lm.model.early_exit_gate.weight.normal_(std=2.0, generator=torch.Generator().manual_seed(0))
    step = last_step(stage)
    gradients, values = gather(optimizer, made, step)
    losses, squares, gates = [], [], []
    for tokens, positions, where, labels in rows(stage, step):
        hidden, gate = lm(tokens, positions, where, None, loops.count)
        logits = [lm.logits(one)[0] for one in hidden]
        losses.append(torch.stack([F.cross_entropy(one, labels, reduction="none") for one in logits]))
        squares.append(torch.stack([one.logsumexp(-1).square() for one in logits]))
        gates.append(torch.stack(list(gate)).flatten(1))
    loss, entropy, p = expected_loss(torch.cat(losses, 1), torch.cat(gates, 1), beta)
    squared = (p * torch.cat(squares, 1)).sum(0).mean()
    whole = loss.mean() + (z_loss or 0.0) * squared
    left = (torch.tensor([[1.0], [2.0], [3.0]]) * p).sum(0)
    wanted = [whole, entropy.mean(), left.mean(), *torch.cat(losses, 1).mean(1), *([squared] if z_loss else [])]
    assert [one.item() for one in values] == pytest.approx([one.item() for one in wanted], rel=1e-5)
    assert not any(one.requires_grad for one in values), "no graph of a micro-batch is kept until the step's end"
    torch.testing.assert_close(gradients, list(torch.autograd.grad(whole, optimizer.parameters)), rtol=1e-3, atol=1e-5)
