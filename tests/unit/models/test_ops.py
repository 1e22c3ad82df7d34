"""The seam's functions equal their formulas."""

import math

import pytest
import torch
import torch.nn.functional as F

from stages.models import ops
from tests.rounding import assert_sums_close


def test_formulas() -> None:
    x = torch.tensor([[3.0, 4.0]])
    assert ops.rms_norm(x, torch.tensor([1.0, 2.0]), 0.5)[0].tolist() == pytest.approx(
        [3 / math.sqrt(13), 8 / math.sqrt(13)]
    )
    assert ops.silu_mul(torch.tensor([1.0]), torch.tensor([3.0])).item() == pytest.approx(3 / (1 + math.exp(-1)))
    losses = ops.cross_entropy(torch.tensor([[0.0, math.log(3)], [5.0, 1.0]]), torch.tensor([1, -100]))
    assert losses.tolist() == pytest.approx([math.log(4 / 3), 0.0])
    assert ops.global_norm([torch.tensor([3.0]), torch.tensor([[4.0]])]).item() == 5.0
    narrow = torch.full((257,), 1.0, dtype=torch.bfloat16)
    assert ops.global_norm([narrow]).item() == pytest.approx(257**0.5, rel=1e-6), "accumulated in fp32"


def test_cross_entropy_is_torchs_with_its_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = (torch.randn(7, 11, generator=generator) * 20).requires_grad_()
    labels = torch.tensor([0, 10, -100, 3, 3, -100, 7])
    weight = torch.randn(7, generator=generator)
    ours = ops.cross_entropy(logits, labels)
    theirs = torch.nn.functional.cross_entropy(logits, labels, ignore_index=-100, reduction="none")
    torch.testing.assert_close(ours, theirs)
    for mine, other in zip(
        torch.autograd.grad((ours * weight).sum(), logits),
        torch.autograd.grad((theirs * weight).sum(), logits),
        strict=True,
    ):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("vocab", [11, 50_000])
def test_the_head_in_blocks_is_the_head_as_a_whole(vocab: int) -> None:
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(7, 5, generator=generator).requires_grad_()
    matrix = torch.randn(vocab, 5, generator=generator).requires_grad_()
    weights = torch.rand(7, generator=generator).requires_grad_()
    labels = torch.tensor([0, 10, -100, 3, 3, -100, 7])
    total, losses = ops.weighted_head_loss(states, matrix, labels, weights)
    exact_states, exact_matrix, exact_weights = exact = [
        x.detach().double().requires_grad_() for x in (states, matrix, weights)
    ]
    plain = torch.nn.functional.cross_entropy(
        exact_states @ exact_matrix.T, labels, ignore_index=-100, reduction="none"
    )
    terms = vocab + matrix.shape[1]  # of the longest chain of sums: over the width, then over the vocabulary
    assert_sums_close(losses, plain.detach(), plain.detach() + 1, terms)
    assert not losses.requires_grad
    wanted = torch.autograd.grad(2 * (plain * exact_weights).sum(), exact)
    with torch.no_grad():  # the same sums over absolute values
        towards = exact_states.matmul(exact_matrix.T).softmax(1)
        towards = (
            2 * exact_weights[:, None] * (towards + F.one_hot(labels.clamp(min=0), vocab)) * (labels != -100)[:, None]
        )
        sizes = (towards @ exact_matrix.abs(), towards.T @ exact_states.abs(), 2 * (plain + 1))
    for mine, one, size in zip(torch.autograd.grad(2 * total, (states, matrix, weights)), wanted, sizes, strict=True):
        assert_sums_close(mine, one, size, terms)
