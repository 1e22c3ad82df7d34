"""Muon against a reference written from arXiv 2502.16982 (eq. 4, sections 2.1 and 2.2), one matrix at a time."""

import math

import pytest
import torch
from torch import Tensor, nn

from stages.train.muon import as_matrices, muon_step, newton_schulz, orthogonalised
from stages.train.optimizer import Optimizer
from stages.train.param_groups import matrix_names, trained_slots
from tests.unit.train.tiny import MUON as CFG
from tests.unit.train.tiny import unclipped


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
        optimizer.step(unclipped(gradients), lr)
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
    Optimizer(CFG, slots).step(unclipped([torch.zeros(4, 4)]), 0.5)
    assert torch.equal(slots[0].parameter.detach(), before * (1 - 0.5 * 0.1))


def test_a_gradient_of_almost_nothing_gives_a_small_update() -> None:
    """The norm gets 1e-7 added (section 2.1), so a norm of 1e-7 counts half."""
    matrix = torch.diag(torch.tensor([1e-7, 0.0]))[None]
    assert newton_schulz(matrix, (1.0, 0.0, 0.0), 1)[0, 0, 0].item() == pytest.approx(0.5, rel=1e-5)


@pytest.mark.parametrize("nesterov", [True, False])
def test_one_step_by_hand(nesterov: bool) -> None:
    """One number is a 1 x 1 matrix; with the coefficients (1, 0, 0) its update is its sign."""
    parameter, momentum = torch.tensor([[5.0]]), torch.tensor([[3.0]])
    muon_step(
        [parameter], [torch.tensor([[-2.0]])], [momentum], lr=0.1, momentum=0.5, nesterov=nesterov,
        coefficients=(1.0, 0.0, 0.0), steps=1, update_rms=0.2,
    )  # fmt: skip
    assert momentum.item() == -0.5  # 0.5 * 3 - 2
    assert parameter.item() == pytest.approx(5.0 + 0.1 * 0.2)


def test_the_direction_without_nesterov_is_the_momentum() -> None:
    """The momentum is 0.5 * 5 - 2 = 0.5, above zero; looking ahead, -2 + 0.5 * 0.5, is below."""
    for nesterov, sign in ((True, -1), (False, 1)):
        parameter = torch.zeros(1, 1)
        muon_step(
            [parameter], [torch.tensor([[-2.0]])], [torch.tensor([[5.0]])], lr=1.0, momentum=0.5, nesterov=nesterov,
            coefficients=(1.0, 0.0, 0.0), steps=1, update_rms=1.0,
        )  # fmt: skip
        assert parameter.item() == pytest.approx(-sign, rel=1e-5)


def test_stacks_of_one_shape_or_turned_come_back_in_their_order() -> None:
    torch.manual_seed(2)
    stacks = [torch.randn(1, 5, 3), torch.randn(1, 4, 4), torch.randn(2, 3, 5)]
    found = orthogonalised(stacks, CFG.newton_schulz, 5)
    assert [tuple(update.shape) for update in found] == [(1, 5, 3), (1, 4, 4), (2, 3, 5)]
    turned = newton_schulz(stacks[0].mT, CFG.newton_schulz, 5).mT
    torch.testing.assert_close(found[0], turned, rtol=1e-5, atol=1e-6)


def test_a_vector_has_no_matrices() -> None:
    with pytest.raises(ValueError, match=r"^no matrices in a tensor of shape \(3,\)$"):
        as_matrices(torch.zeros(3))


def test_on_a_cpu_matrices_of_any_precision_are_orthogonalised_in_float32() -> None:
    torch.manual_seed(4)
    rounded = torch.randn(2, 3, 5).bfloat16()
    found = newton_schulz(rounded, CFG.newton_schulz, 5)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, newton_schulz(rounded.float(), CFG.newton_schulz, 5).bfloat16())
