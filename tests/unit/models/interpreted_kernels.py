"""Triton's kernels on a CPU, as Triton's interpreter runs them: test_triton.py runs this file in a process of its own.

Numbers are in fp32, so that nothing is rounded at the end but in fp32; the interpreter cuts bf16 off.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stages.models.ops import functional, head_chunk, triton_forms
from tests.rounding import UNIT, assert_sums_close

ROWS, WIDTH = 37, 640  # no multiple of a block
LEAST = 2.0**-126 / UNIT  # what fp32 does not tell from 0, as a magnitude


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.filterwarnings("ignore:overflow")  # of numpy: a sigmoid's exponential, whose inverse is then 0
def test_silu_mul_and_its_gradients() -> None:
    """Beyond the exponential's range too."""
    gate, up, grad = (draw(ROWS, WIDTH, seed=seed) for seed in range(3))
    gate[0, :4] = torch.tensor([-200.0, 200.0, -88.0, 0.0])
    leaves = gate.requires_grad_(), up.t().contiguous().t().requires_grad_()  # not contiguous
    found = triton_forms.silu_mul(*leaves)
    gradients = torch.autograd.grad(found, leaves, grad.t().contiguous().t())
    exact = [part.detach().double().requires_grad_() for part in leaves]
    wanted = F.silu(exact[0]) * exact[1]
    by_gate, by_up = torch.autograd.grad(wanted, exact, grad.double())
    with torch.no_grad():
        sigmoid = exact[0].sigmoid()
        size = (grad * up).double().abs() * sigmoid * (1 + exact[0].abs() * (1 - sigmoid))
        assert_sums_close(found, wanted, wanted.abs() + LEAST, 8)
        assert_sums_close(gradients[0], by_gate, size + LEAST, 8)
        assert_sums_close(gradients[1], by_up, by_up.abs() + LEAST, 8)


@pytest.mark.parametrize(("heads", "width"), [(1, 96), (3, 2), (12, 64)])
@pytest.mark.parametrize("interleaved", [False, True])
def test_rotate_and_its_gradient(interleaved: bool, width: int, heads: int) -> None:
    """Of queries as a product gives them, with heads inside positions or outside, part of a wider head, and a gradient
    whose heads are outside.
    """
    angles = draw(2, 5, 1, width // 2, seed=1)
    tables = angles.cos(), angles.sin()
    grad = draw(2, heads, 5, width, seed=2).transpose(1, 2)
    for x in (
        draw(2, 5, heads, width),
        draw(2, heads, 5, width).transpose(1, 2),
        draw(2, 5, heads, width + 6)[..., 6:],
    ):
        x.requires_grad_()
        found, wanted = triton_forms.rotate(x, *tables, interleaved), functional.rotate(x, *tables, interleaved)
        assert found.is_contiguous()
        torch.testing.assert_close(found, wanted, rtol=0, atol=2e-6)  # a fused product and sum, or not
        (mine,), (other,) = (torch.autograd.grad(out, x, grad) for out in (found, wanted))
        torch.testing.assert_close(mine, other, rtol=0, atol=2e-6)


def test_heads_may_be_further_apart_than_32_bits_count(tmp_path: Path) -> None:
    """The third head's numbers are 2.2e9 elements behind the first's, in a file of which three pages are there."""
    apart, width = 1_100_000_000, 4
    file = torch.from_file(str(tmp_path / "heads"), shared=True, size=2 * apart + width, dtype=torch.float16)
    x = file.as_strided((1, 1, 3, width), (0, 0, apart, 1))
    x.copy_(draw(1, 1, 3, width).half())
    angles = draw(1, 1, 1, width // 2, seed=1)
    found = triton_forms.rotate(x, angles.cos(), angles.sin(), False)
    wanted = functional.rotate(x.float(), angles.cos(), angles.sin(), False)
    torch.testing.assert_close(found.float(), wanted, rtol=2.0**-10, atol=0)


@pytest.mark.parametrize("vocab", [3, 4096, 9001])
@pytest.mark.parametrize("wanted", [True, False], ids=["slopes", "losses alone"])
def test_softmax_of_rows(wanted: bool, vocab: int) -> None:
    """Labels that are all but certain, beyond an exponential's range too, or all but impossible; a word far above all;
    words that are all alike.
    """
    logits = 4 * draw(6, vocab)
    labels = torch.tensor([0, 1, vocab - 1, 0, 2, 1])[:, None]
    logits[0, 0], logits[1, 1], logits[2, 0], logits[3], logits[5, 1] = 25.0, -300.0, 1e4, -1e4, 500.0
    slopes = torch.full_like(logits, math.nan) if wanted else None
    losses = triton_forms.softmax_rows(logits, labels, slopes)
    scores = logits.double().log_softmax(1)
    exact = -scores.gather(1, labels)
    assert_sums_close(losses, exact, 1 + logits.double().abs().amax(1, keepdim=True) + exact.abs(), vocab)
    if slopes is None:
        return
    chances = scores.exp()
    # An exponential widens its argument's error; the label's slope is the sum of the other words'.
    sizes = chances * (1 + (logits - logits.amax(1, keepdim=True)).double().abs())
    sizes.scatter_(1, labels, sizes.scatter(1, labels, 0.0).sum(1, keepdim=True))
    right = chances.scatter(1, labels, scores.gather(1, labels).expm1())
    assert_sums_close(slopes, right, sizes + LEAST, vocab)


def test_a_whole_head_by_these_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a GPU's rows take: losses and both gradients, as torch's own operations give them."""
    states, matrix = draw(200, 32), draw(700, 32, seed=1)
    labels = torch.arange(200)[:, None] * 31 % 700
    scales = draw(200, 1, seed=2).abs()
    found = []
    for fused in (None, triton_forms):
        monkeypatch.setattr(head_chunk.choice, "fused", lambda x, fused=fused: fused)
        into, matrix_grad = torch.empty_like(states), torch.empty_like(matrix)
        losses = head_chunk.loss_on_gpu(states, matrix, labels, scales, 100, into, matrix_grad)
        found.append((losses, into, matrix_grad))
    for one, other in zip(*found, strict=True):
        assert not torch.equal(one, other), "the same operations were compared with themselves"
        assert float((one - other).norm() / other.norm()) < 1e-6


def test_nothing_is_computed_of_nothing() -> None:
    """An expert without tokens."""
    empty = torch.empty(0, WIDTH).requires_grad_()
    assert torch.autograd.grad(triton_forms.silu_mul(empty, empty).sum(), empty)[0].shape == empty.shape
    assert triton_forms.softmax_rows(torch.empty(0, 5), torch.empty(0, 1, dtype=torch.long), None).shape == (0, 1)
