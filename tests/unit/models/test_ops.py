"""The seam's functions equal their formulas; the machine's kernels are told apart by more than a name."""

import importlib.machinery
import importlib.util
import math

import pytest
import torch

from stages.models import ops
from stages.models.ops import backend


def test_formulas():
    x = torch.tensor([[3.0, 4.0]])
    assert ops.rms_norm(x, torch.tensor([1.0, 2.0]), 0.5)[0].tolist() == pytest.approx(
        [3 / math.sqrt(13), 8 / math.sqrt(13)]
    )
    assert ops.silu_mul(torch.tensor([1.0]), torch.tensor([3.0])).item() == pytest.approx(3 / (1 + math.exp(-1)))
    losses = ops.cross_entropy(torch.tensor([[0.0, math.log(3)], [5.0, 1.0]]), torch.tensor([1, -100]))
    assert losses.tolist() == pytest.approx([math.log(4 / 3), 0.0])
    assert ops.global_norm([torch.tensor([3.0]), torch.tensor([[4.0]])]).item() == 5.0


def test_cross_entropy_is_torchs_with_its_gradient():
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


@pytest.mark.parametrize("vocab", [11, 50_000])  # one block, and blocks of two rows
def test_the_head_in_blocks_is_the_head_as_a_whole(vocab):
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(7, 5, generator=generator).requires_grad_()
    matrix = torch.randn(vocab, 5, generator=generator).requires_grad_()
    weights = torch.rand(7, generator=generator).requires_grad_()
    labels = torch.tensor([0, 10, -100, 3, 3, -100, 7])
    total, losses = ops.weighted_head_loss(states, matrix, labels, weights)
    plain = ops.cross_entropy(states @ matrix.T, labels)
    torch.testing.assert_close(losses, plain.detach())
    assert not losses.requires_grad
    inputs = (states, matrix, weights)
    for mine, other in zip(
        torch.autograd.grad(2 * total, inputs), torch.autograd.grad(2 * (plain * weights).sum(), inputs), strict=True
    ):
        torch.testing.assert_close(mine, other)


def test_a_package_called_apex_is_not_nvidias(monkeypatch):
    assert ops.describe() == "torch"
    real = importlib.util.find_spec

    def find_spec(name):
        if name == "apex":
            return importlib.machinery.ModuleSpec("apex", None)
        if name.startswith("apex."):
            return None
        return real(name)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    backend.apex.cache_clear()
    assert "PyPI's unrelated project" in ops.describe()
    backend.apex.cache_clear()
