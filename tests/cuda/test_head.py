"""The loss in chunks on the device: what whole logits give, the same bits twice, and 262,144 x 128,256 on a card."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor

from stages.models import ops
from stages.models.ops import head, head_chunk
from stages.models.ops.head import Chunk
from tests.cuda.test_waiting import waiting_raises

BF16 = 2.0**-8  # unit roundoff


def given(
    device: torch.device, tokens: int, width: int, vocab: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """States, matrix and labels (every fifth not supervised), drawn on the device."""
    generator = torch.Generator(device).manual_seed(0)
    states = torch.randn(tokens, width, generator=generator, device=device, dtype=dtype).requires_grad_()
    matrix = torch.randn(vocab, width, generator=generator, device=device).mul_(width**-0.5).requires_grad_()
    labels = torch.randint(0, vocab, (tokens,), generator=generator, device=device)
    labels[::5] = -100
    return states, matrix, labels


@pytest.mark.parametrize("size", [Chunk(64, 256), Chunk(448, 5000)])
@pytest.mark.parametrize("bf16", [False, True])
def test_chunks_give_what_whole_logits_give(device: torch.device, size: Chunk, bf16: bool) -> None:
    """In fp32 to rounding; in bf16 to that of its products, as tests/unit/models/test_head.py derives it."""
    states, matrix, labels = given(device, 1500, 64, 5000, torch.float32)
    weights = torch.ones(len(labels), device=device)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
        total, _ = ops.weighted_head_loss(states, matrix, labels, weights, size)
    mine = torch.autograd.grad(total, (states, matrix))
    exact = torch.nn.functional.cross_entropy(
        states.double() @ matrix.double().T, labels, ignore_index=-100, reduction="sum"
    )
    wanted = torch.autograd.grad(exact, (states, matrix))
    far = 2 * BF16 if bf16 else 2e-6
    assert total.item() == pytest.approx(exact.item(), rel=far)
    for one, other in zip(mine, wanted, strict=True):
        assert float((one - other).norm() / other.norm()) < far
    some = torch.arange(0, len(labels), 7, device=device)
    plain = gradient_of_states(states, matrix, labels, some)
    assert float((plain - wanted[0][some]).norm() / plain.norm()) < 1e-5


def gradient_of_states(states: Tensor, matrix: Tensor, labels: Tensor, some: Tensor) -> Tensor:
    """That of the summed loss, in fp32, of some positions: what their logits give, whole."""
    with torch.no_grad():
        slopes = (states[some].float() @ matrix.float().T).softmax(-1)
        slopes -= torch.nn.functional.one_hot(labels[some].clamp(min=0), len(matrix))
        return (slopes @ matrix.float()) * (labels[some] != -100)[:, None]


@pytest.mark.parametrize("size", [Chunk(64, 256), Chunk(448, 5000)])
def test_the_same_bits_twice_under_deterministic_kernels(device: torch.device, size: Chunk) -> None:
    states, matrix, labels = given(device, 1500, 64, 5000, torch.float32)
    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("error")
    try:
        found = []
        for _ in range(2):
            with torch.autocast(device.type, dtype=torch.bfloat16):
                total, losses = ops.weighted_head_loss(states, matrix, labels, labels.float().abs(), size)
            found.append([total, losses, *torch.autograd.grad(total, (states, matrix))])
    finally:
        torch.set_deterministic_debug_mode(before)
    assert all(map(torch.equal, *found))


@pytest.mark.parametrize("size", [Chunk(64, 256), Chunk(448, 5000)])
def test_no_chunk_waits_for_the_device(device: torch.device, size: Chunk) -> None:
    states, matrix, labels = given(device, 1500, 64, 5000, torch.float32)
    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("error")
    try:
        for watched in (False, True):  # cuBLAS's workspaces are made once
            with waiting_raises(device) if watched else nullcontext(), torch.autocast(device.type, torch.bfloat16):
                total, _ = ops.weighted_head_loss(states, matrix, labels, labels.float().abs(), size)
                torch.autograd.grad(total, (states, matrix))
    finally:
        torch.set_deterministic_debug_mode(before)


@pytest.mark.gpu_only
def test_a_context_of_262_144_tokens_over_128_256_words_fits_one_card(device: torch.device) -> None:
    """Whole logits alone would take 134 GB in fp32. H = 2,048, in bf16."""
    tokens, width, vocab = 262_144, 2_048, 128_256
    states, matrix, labels = given(device, tokens, width, vocab, torch.bfloat16)
    size = head.chunk(vocab, device)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    with torch.autocast("cuda", dtype=torch.bfloat16):
        loss = ops.head_loss(states, matrix, labels)
    (loss / tokens).backward()
    held = torch.cuda.max_memory_allocated() - before
    gradients = 2 * tokens * width + 4 * vocab * width
    copy = 2 * vocab * width
    logits, slopes = 2 * 4 * head_chunk.AT_ONCE, 2 * head.TOGETHER * size.rows * size.words
    assert held < 1.05 * (gradients + copy + logits + slopes) + 100 * tokens
    assert loss.item() / int((labels != -100).sum()) == pytest.approx(12.26, abs=0.05)  # log V + 1/2: logits ~ N(0, 1)
    assert states.grad is not None
    assert matrix.grad is not None
    some = torch.arange(0, tokens, 4099, device=device)
    plain = gradient_of_states(states, matrix.bfloat16(), labels, some) / tokens
    assert float((states.grad[some] - plain).norm() / plain.norm()) < 4 * BF16  # slopes, products, twice their result
    assert bool(matrix.grad.isfinite().all())
    # The slopes of a position add up to 0, and so over all words do the gradients: to what rounding leaves of them.
    assert float(matrix.grad.sum(0).norm() / matrix.grad.norm()) < 2 * BF16
