"""Every operation of the seam on the GPU, as Apex's kernels, Triton's and torch's, against its formula in fp64.

Bounds follow from the length of the sums (tests/rounding.py), forward and backward. In a rehearsal on a CPU the same
formulas hold of the plain forms.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stages.models import ops
from stages.models.ops import backend, choice, functional, head_chunk, multi_tensor
from stages.train.adamw import adamw_step
from tests.rounding import assert_sums_close

ROWS, WIDTH, VOCAB = 37, 640, 1031  # no multiple of a block
FUSED = pytest.mark.parametrize("whose", ["torch", "triton"], indirect=True)
TYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])


@pytest.fixture(autouse=True, params=["apex", "torch"])
def whose(request: pytest.FixtureRequest, device: torch.device, monkeypatch: pytest.MonkeyPatch) -> str:
    """Apex's kernels, or Triton's, where they run; or torch's, even where others do."""
    if request.param == "triton" and (device.type == "cpu" or "triton" not in choice.features()):
        pytest.skip("Triton runs no kernels here")
    if request.param != "triton":
        monkeypatch.setattr(choice, "fused", lambda x: None)
    if request.param == "apex" and (device.type == "cpu" or backend.apex("rms_norm") is None):
        pytest.skip("NVIDIA Apex is not installed" if device.type == "cuda" else "Apex has no kernels for a CPU")
    if request.param != "apex":
        for module in (functional, multi_tensor):
            monkeypatch.setattr(module, "apex", lambda operation: None)
    return request.param


def draw(device: torch.device, *shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    """Normal numbers, representable in `dtype`, the same on every device."""
    made = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return made.to(dtype).to(device)


def exact(x: Tensor) -> Tensor:
    return x.detach().double().requires_grad_()


@TYPES
def test_rms_norm(dtype: torch.dtype, device: torch.device, whose: str) -> None:
    """Apex's kernel rounds the normed number to the gain's type, and the product again (cuApplyRMSNorm)."""
    x, weight = draw(device, ROWS, WIDTH, dtype=dtype), 1 + draw(device, WIDTH, seed=1, dtype=dtype) / 8
    grad = draw(device, ROWS, WIDTH, dtype=dtype, seed=2)
    x.requires_grad_(), weight.requires_grad_()
    found = ops.rms_norm(x, weight, 1e-5)
    gradients = torch.autograd.grad(found, (x, weight), grad.to(found.dtype))
    x64, w64, g64 = exact(x), exact(weight), grad.double()
    inverse = (x64.square().mean(-1, keepdim=True) + 1e-5).rsqrt()
    wanted = x64 * inverse * w64
    assert_sums_close(found, wanted.detach(), wanted.detach().abs(), WIDTH, stored=2 if whose == "apex" else 1)
    on_x, on_weight = torch.autograd.grad(wanted, (x64, w64), g64)
    with torch.no_grad():
        along = (g64 * w64 * x64).abs().mean(-1, keepdim=True)
        size_x = inverse * (g64 * w64).abs() + inverse**3 * x64.abs() * along
        size_weight = (g64 * x64 * inverse).abs().sum(0)
    assert_sums_close(gradients[0], on_x, size_x, WIDTH)
    assert_sums_close(gradients[1], on_weight, size_weight, WIDTH + ROWS)


@FUSED
@TYPES
def test_silu_mul(dtype: torch.dtype, device: torch.device, whose: str) -> None:
    gate, up, grad = (draw(device, ROWS, WIDTH, dtype=dtype, seed=seed) for seed in range(3))
    gate.requires_grad_(), up.requires_grad_()
    found = ops.silu_mul(gate, up)
    gradients = torch.autograd.grad(found, (gate, up), grad)
    g64, u64 = exact(gate), exact(up)
    wanted = F.silu(g64) * u64
    assert_sums_close(found, wanted.detach(), wanted.detach().abs(), 8, stored=2)
    on_gate, on_up = torch.autograd.grad(wanted, (g64, u64), grad.double())
    with torch.no_grad():
        sigmoid = g64.sigmoid()
        size = (grad.double() * u64).abs() * sigmoid * (1 + g64.abs() * (1 - sigmoid))
    assert_sums_close(gradients[0], on_gate, size, 8, stored=2)
    assert_sums_close(gradients[1], on_up, on_up.abs(), 8, stored=2)


@FUSED
@TYPES
@pytest.mark.parametrize("interleaved", [False, True])
def test_rotate(interleaved: bool, dtype: torch.dtype, device: torch.device, whose: str) -> None:
    x, grad = (draw(device, 1, ROWS, 4, 64, dtype=dtype, seed=seed) for seed in range(2))
    angles = draw(device, ROWS, 1, 32, seed=2)
    cos, sin = angles.cos(), angles.sin()
    x.requires_grad_()
    found = ops.rotate(x, cos, sin, interleaved)
    (gradient,) = torch.autograd.grad(found, x, grad)
    c64, s64 = (table.to(dtype).double() for table in (cos, sin))
    first, second = (x.detach()[..., 0::2], x.detach()[..., 1::2]) if interleaved else x.detach().chunk(2, -1)
    a, b = first.double(), second.double()
    wanted = torch.cat([a * c64 - b * s64, b * c64 + a * s64], -1)
    sizes = torch.cat([(a * c64).abs() + (b * s64).abs(), (b * c64).abs() + (a * s64).abs()], -1)
    assert_sums_close(found, wanted, sizes, 2, stored=2)
    a, b = (half.double() for half in grad.chunk(2, -1))
    parts = (a * c64 + b * s64, b * c64 - a * s64)
    sizes = ((a * c64).abs() + (b * s64).abs(), (b * c64).abs() + (a * s64).abs())
    laid = (
        (lambda halves: torch.stack(halves, -1).flatten(-2)) if interleaved else (lambda halves: torch.cat(halves, -1))
    )
    assert_sums_close(gradient, laid(parts), laid(sizes), 2, stored=2)


@TYPES
def test_cross_entropy(dtype: torch.dtype, device: torch.device) -> None:
    logits = (4 * draw(device, ROWS, VOCAB, dtype=dtype)).requires_grad_()
    labels = torch.arange(ROWS, device=device) * 31 % VOCAB
    labels[::5] = ops.IGNORED
    weights = draw(device, ROWS, seed=1)
    found = ops.cross_entropy(logits, labels)
    assert found.dtype == torch.float32
    (gradient,) = torch.autograd.grad(found, logits, weights)
    l64 = exact(logits)
    wanted = F.cross_entropy(l64, labels, ignore_index=ops.IGNORED, reduction="none")
    with torch.no_grad():
        whole = l64.logsumexp(-1)
        assert_sums_close(found, wanted.detach(), 1 + whole.abs() + l64.abs().amax(-1), VOCAB)
    (on_logits,) = torch.autograd.grad(wanted, l64, weights.double())
    with torch.no_grad():  # the exponential widens what its argument is off by
        softmax = l64.softmax(-1) * (1 + l64.abs() + whole.abs()[:, None])
        size = (softmax + F.one_hot(labels.clamp(min=0), VOCAB)) * weights.double().abs()[:, None]
    assert_sums_close(gradient, on_logits, size * (labels != ops.IGNORED)[:, None], VOCAB)


@FUSED
@pytest.mark.parametrize("vocab", [VOCAB, 50_000])
def test_softmax_of_rows(vocab: int, device: torch.device, whose: str) -> None:
    """A row that is all but certain of its label too."""
    logits = 4 * draw(device, ROWS, vocab)
    labels = torch.arange(ROWS, device=device)[:, None] * 31 % vocab
    logits[0, labels[0]] = 30.0
    slopes = torch.full_like(logits, torch.nan, dtype=torch.bfloat16)
    fused = choice.fused(slopes)
    losses = (head_chunk if fused is None else fused).softmax_rows(logits, labels, slopes)
    scores = logits.double().log_softmax(1)
    wanted = -scores.gather(1, labels)
    top = logits.double().amax(1, keepdim=True)
    assert_sums_close(losses, wanted, 1 + top.abs() + wanted.abs(), vocab)
    # An exponential widens its argument's error; the label's slope is the sum of the other words'.
    sizes = scores.exp() * (1 + (top - logits).abs())
    sizes.scatter_(1, labels, sizes.scatter(1, labels, 0.0).sum(1, keepdim=True))
    right = scores.exp().scatter(1, labels, scores.gather(1, labels).expm1())
    assert_sums_close(slopes, right, sizes, vocab)


@pytest.mark.parametrize("clip", [None, 0.3])
@pytest.mark.parametrize("step", [1, 1000])
def test_adamw(step: int, clip: float | None, device: torch.device) -> None:
    shapes = [(ROWS, WIDTH), (WIDTH,), (1,), (3, 5, 7)]
    parameters, gradients, first = ([draw(device, *shape, seed=seed) for shape in shapes] for seed in range(3))
    second = [draw(device, *shape, seed=3).square() for shape in shapes]
    before = [[tensor.double() for tensor in tensors] for tensors in (parameters, gradients, first, second)]
    lr, beta1, beta2, eps, decay = 1e-2, 0.9, 0.95, 1e-8, 0.1
    factor = None if clip is None else torch.tensor(clip, device=device)
    adamw_step(parameters, gradients, first, second, ops.Update(step, lr, beta1, beta2, eps, decay, factor))
    # A kernel has the betas in fp32, so 1 - beta2 is off by 10 units; with it, 34 units hold a chain of a dozen.
    terms = 32
    for p, m, v, p0, g0, m0, v0 in zip(parameters, first, second, *before, strict=True):
        g = g0 * (1.0 if factor is None else factor.double())
        moment, square = beta1 * m0 + (1 - beta1) * g, beta2 * v0 + (1 - beta2) * g * g
        size = beta1 * m0.abs() + (1 - beta1) * g.abs()
        assert_sums_close(m, moment, size, terms)
        assert_sums_close(v, square, square, terms)
        rate = lr / (1 - beta1**step) / ((square / (1 - beta2**step)).sqrt() + eps)
        assert_sums_close(p, p0 * (1 - lr * decay) - rate * moment, p0.abs() + rate * size, terms)


def test_the_norm_of_many_tensors_and_their_scaling(device: torch.device) -> None:
    tensors = [draw(device, *shape, seed=seed) for seed, shape in enumerate([(ROWS, WIDTH), (5,), (1,), (4096, 33)])]
    squares = sum(tensor.double().square().sum() for tensor in tensors)
    count = sum(tensor.numel() for tensor in tensors)
    assert_sums_close(ops.global_norm(tensors), squares.sqrt(), squares.sqrt(), count)
    wanted = [tensor.double() * 0.7 for tensor in tensors]
    ops.scale(tensors, 0.7)
    for found, one in zip(tensors, wanted, strict=True):
        assert_sums_close(found, one, one.abs(), 1)


@pytest.mark.parametrize("vocab", [VOCAB, 50_000])
def test_the_head_and_its_loss(vocab: int, device: torch.device) -> None:
    states = draw(device, ROWS, 64).requires_grad_()
    matrix = draw(device, vocab, 64, seed=1).requires_grad_()
    weights = draw(device, ROWS, seed=2).abs().requires_grad_()
    labels = torch.arange(ROWS, device=device) * 31 % vocab
    labels[::5] = ops.IGNORED
    total, losses = ops.weighted_head_loss(states, matrix, labels, weights)
    s64, m64, w64 = leaves = [exact(x) for x in (states, matrix, weights)]
    wanted = F.cross_entropy(s64 @ m64.T, labels, ignore_index=ops.IGNORED, reduction="none")
    terms = vocab + 64
    with torch.no_grad():
        reach = (s64.abs() @ m64.abs().T).amax(-1)  # of a logit's sum; the exponential widens what it is off by
    assert_sums_close(losses, wanted.detach(), 1 + 2 * reach, terms)
    on = torch.autograd.grad((wanted * w64).sum(), leaves)
    with torch.no_grad():
        towards = (s64 @ m64.T).softmax(1) * (1 + 2 * reach)[:, None] + F.one_hot(labels.clamp(min=0), vocab)
        towards = w64[:, None] * towards * (labels != ops.IGNORED)[:, None]
        sizes = (towards @ m64.abs(), towards.T @ s64.abs(), 1 + 2 * reach)
    for mine, one, size in zip(torch.autograd.grad(total, (states, matrix, weights)), on, sizes, strict=True):
        assert_sums_close(mine, one, size, terms)
