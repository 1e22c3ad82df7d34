"""Muon against a reference written from arXiv 2502.16982 (eq. 4, sections 2.1 and 2.2), one matrix at a time."""

import math

import pytest
import torch
from torch import Tensor, nn

from stages.train.muon import newton_schulz
from stages.train.optimizer import Optimizer, matrix_names, trained_slots
from tests.unit.train.tiny import MUON as CFG


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(9, 4)
        self.wide = nn.Linear(8, 4, bias=True)
        self.tall = nn.Linear(4, 8, bias=False)
        self.norm = nn.RMSNorm(4)
        self.mlp = nn.Module()
        self.mlp.experts = nn.Module()
        self.mlp.experts.up = nn.Parameter(torch.randn(3, 4, 8))
        self.kernel = nn.Conv2d(2, 4, 2, bias=False)
        self.table = nn.Parameter(torch.randn(5, 5, 4))
        self.lm_head = nn.Linear(4, 9, bias=False)


def reference_matrix(weight: Tensor, gradient: Tensor, buffer: Tensor, lr: float) -> Tensor:
    """One Muon step of one A x B matrix, in float64, as the paper writes it; `buffer` is M_t and is updated."""
    buffer.mul_(0.95).add_(gradient)
    direction = gradient + 0.95 * buffer
    x = direction / direction.norm()
    turned = x.shape[0] > x.shape[1]
    x = x.T if turned else x
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    x = x.T if turned else x
    return weight - lr * (0.2 * x * math.sqrt(max(weight.shape)) + 0.1 * weight)


def reference_vector(weight: Tensor, gradient: Tensor, m: Tensor, v: Tensor, step: int, lr: float) -> Tensor:
    m.mul_(0.9).add_(0.1 * gradient)
    v.mul_(0.95).add_(0.05 * gradient**2)
    update = (m / (1 - 0.9**step)) / ((v / (1 - 0.95**step)).sqrt() + 1e-8)
    return weight - lr * (update + 0.1 * weight)


def test_every_matrix_and_no_embedding_head_table_norm_or_bias_is_moved_by_muon() -> None:
    assert matrix_names(Tiny()) == {"wide.weight", "tall.weight", "mlp.experts.up", "kernel.weight"}


def test_three_steps_equal_the_paper() -> None:
    torch.manual_seed(3)
    modules = nn.ModuleDict({"llm": Tiny()})
    slots = trained_slots(modules, ("llm",), CFG)
    optimizer = Optimizer(CFG, slots)
    expected = {slot.name: slot.parameter.detach().double().clone() for slot in slots}
    memory = {name: [torch.zeros_like(value), torch.zeros_like(value)] for name, value in expected.items()}
    for step in (1, 2, 3):
        lr = 0.02 / step
        gradients = [torch.randn_like(slot.parameter) for slot in slots]
        for slot, gradient in zip(slots, gradients, strict=True):
            weight, g, (m, v) = expected[slot.name], gradient.double(), memory[slot.name]
            if not slot.muon:
                expected[slot.name] = reference_vector(weight, g, m, v, step, lr)
            elif weight.ndim == 3:
                parts = [reference_matrix(weight[e], g[e], m[e], lr) for e in range(len(weight))]
                expected[slot.name] = torch.stack(parts)
            else:
                moved = reference_matrix(weight.flatten(1), g.flatten(1), m.flatten(1), lr)
                expected[slot.name] = moved.view_as(weight)
        optimizer.step(gradients, lr)
    for slot in slots:
        torch.testing.assert_close(slot.parameter.detach().double(), expected[slot.name], rtol=0, atol=2e-5)


@pytest.mark.parametrize("shape", [(4, 4), (4, 32), (16, 64)])
def test_newton_schulz_brings_singular_values_near_one(shape: tuple[int, int]) -> None:
    torch.manual_seed(1)
    singular = torch.linalg.svdvals(newton_schulz(torch.randn(1, *shape), CFG.newton_schulz, 5)[0])
    assert singular.min() > 0.3
    assert singular.max() < 1.3


def test_a_gradient_of_zeros_moves_nothing_but_the_decay() -> None:
    modules = nn.ModuleDict({"llm": nn.Linear(4, 4, bias=False)})
    slots = trained_slots(modules, ("llm",), CFG)
    before = slots[0].parameter.detach().clone()
    Optimizer(CFG, slots).step([torch.zeros(4, 4)], 0.5)
    assert torch.equal(slots[0].parameter.detach(), before * (1 - 0.5 * 0.1))
