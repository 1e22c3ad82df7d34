"""The head's loss in chunks of positions and words: what whole logits give, with one chunk alive at a time."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stages.models import ops
from stages.models.ops import head, head_chunk
from stages.models.ops.head import Chunk
from stages.models.ops.head_pieces import loss_in_pieces
from tests.live import Live
from tests.unit.models.head_loss import V, given, gradients, plain, relative

SIZES = [Chunk(64, 700), Chunk(150, 700), Chunk(7, 13), Chunk(1, 699), Chunk(64, 128), Chunk(1000, 1000)]
BF16 = 2.0**-8  # unit roundoff: eight significant bits, rounded to nearest


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size.rows}x{size.words}")
def test_in_fp32_loss_and_gradients_are_those_of_whole_logits(size: Chunk) -> None:
    states, matrix, labels, weights = given()
    leaves = [part.requires_grad_() for part in (states, matrix, weights)]
    total, losses = ops.weighted_head_loss(states, matrix, labels, weights, size)
    exact = plain(states, matrix, labels, weights)
    assert total.item() == pytest.approx(exact.item(), rel=1e-6)
    for mine, other in zip(gradients(total, leaves), gradients(exact, leaves), strict=True):
        assert mine.dtype == torch.float32
        assert relative(mine, other) < 1e-6
    assert not losses.requires_grad
    assert torch.equal(losses == 0, labels == -100)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size.rows}x{size.words}")
def test_in_bf16_they_differ_by_the_roundings_of_its_products(size: Chunk) -> None:
    """Against exact sums of the same bf16 factors.

    A logit z is rounded once, to z (1 + u): a loss moves by 2 u max|z| at most, and a probability by the factor
    exp(2 u max|z|). A logit's gradient is rounded once, and each product that it is in, once: the elements of a
    gradient are off by at most the sum of absolute products times exp(2 u max|z|) (1 + u)^2 - 1. Sums are in fp32,
    whose roundings are in the last factor.
    """
    states, matrix, labels, weights = given()
    states, matrix = rounded = [part.bfloat16().float().requires_grad_() for part in (states, matrix)]
    total, losses = _in_bf16(states, matrix, labels, weights, size)
    largest = float((rounded[0] @ rounded[1].T).detach().abs().max())
    exact_losses = F.cross_entropy(rounded[0].double() @ rounded[1].double().T, labels, reduction="none")
    supervised = labels != -100
    off = (losses.double() - exact_losses)[supervised].abs().max()
    assert 0 < off <= 2 * BF16 * largest * 1.001
    exact = gradients(plain(states, matrix, labels, weights), rounded)
    allowed = math.exp(2 * BF16 * largest) * (1 + BF16) ** 2 * (1 + 1e-4) - 1
    for mine, other, size_of in zip(
        gradients(total, rounded), exact, _absolute(*rounded, labels, weights), strict=True
    ):
        assert mine.dtype == torch.float32
        assert ((mine - other).abs() <= allowed * size_of).all()
        assert relative(mine, other) < BF16  # most roundings cancel


def _in_bf16(states: Tensor, matrix: Tensor, labels: Tensor, weights: Tensor, size: Chunk) -> tuple[Tensor, Tensor]:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return ops.weighted_head_loss(states, matrix, labels, weights, size)


@torch.no_grad()
def _absolute(states: Tensor, matrix: Tensor, labels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """The sums of `gradients` over absolute values."""
    towards = (states @ matrix.T).softmax(1) + F.one_hot(labels.clamp(min=0), len(matrix))
    towards = 3 * towards * (weights * (labels != -100))[:, None]
    return towards @ matrix.abs(), towards.T @ states.abs()


def test_large_logits_do_not_overflow_between_pieces() -> None:
    states, matrix, labels, weights = given()
    total, _ = ops.weighted_head_loss(states * 100, matrix, labels, weights, Chunk(64, 100))
    assert total.item() == pytest.approx(plain(states * 100, matrix, labels, weights).item(), rel=1e-6)


def test_a_tied_matrix_gets_both_its_gradients() -> None:
    _, matrix, labels, weights = given()
    matrix.requires_grad_()
    tokens = labels.clamp(min=0).roll(1)
    total, _ = ops.weighted_head_loss(F.embedding(tokens, matrix).tanh(), matrix, labels, weights, Chunk(64, 100))
    exact = plain(F.embedding(tokens, matrix).tanh(), matrix, labels, weights)
    (mine,), (other,) = gradients(total, [matrix]), gradients(exact, [matrix])
    assert relative(mine, other) < 1e-6


def test_nothing_supervised_is_a_loss_of_zero_without_a_gradient() -> None:
    states, matrix, labels, weights = given()
    states.requires_grad_()
    total, _ = ops.weighted_head_loss(states, matrix, torch.full_like(labels, -100), weights, Chunk(64, 100))
    assert total.item() == 0
    assert gradients(total, [states])[0].abs().max() == 0
    assert ops.head_loss(states[:0], matrix, labels[:0]).item() == 0


def test_a_pass_without_gradients_takes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same loss, of a matrix that is trained: an evaluation has no use for a gradient of its size."""
    states, matrix, labels, weights = given()
    matrix.requires_grad_()
    wanted = ops.weighted_head_loss(states, matrix, labels, weights, Chunk(64, 100))[0]
    found: list[Tensor | None] = []

    def pieces(*given: Any) -> tuple[Tensor, Tensor]:
        found.append(given[-1])
        return loss_in_pieces(*given)

    monkeypatch.setattr(head, "loss_in_pieces", pieces)
    with torch.no_grad():
        assert torch.equal(ops.weighted_head_loss(states, matrix, labels, weights, Chunk(64, 100))[0], wanted)
    assert found == [None]


def test_the_gradients_are_handed_over_once() -> None:
    states, matrix, labels, weights = given()
    matrix.requires_grad_()
    total, _ = ops.weighted_head_loss(states, matrix, labels, weights)
    total.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        total.backward()


@pytest.mark.parametrize("vocab", [1024, 49_152, 128_256, 163_840])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_chunk_has_rows_enough_for_a_product_and_a_bounded_number_of_logits(vocab: int, device: str) -> None:
    size = head.chunk(vocab, torch.device(device))
    limit = head.ON_GPU if device == "cuda" else max(head.ON_CPU, head.FEWEST * head.WIDEST)
    assert size.rows >= head.FEWEST
    assert size.rows % head.FEWEST == 0
    assert size.rows * size.words <= limit
    assert device == "cpu" or size.words == vocab  # in one piece: `rows_on_gpu`


# ------------------------------------------------- rows as a GPU takes them


@pytest.mark.parametrize("at_once", [1, V * 100, 1 << 26], ids=["64", "64 of 100", "all"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("first", [True, False], ids=["first", "others"])
def test_a_gpus_rows_give_the_loss_and_write_or_add_their_gradients(
    first: bool, dtype: torch.dtype, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Near 1 a probability less 1 keeps its digits, and rows without a label change nothing."""
    monkeypatch.setattr(head_chunk, "AT_ONCE", at_once)
    states, matrix, labels, weights = given()
    states, matrix = states.to(dtype), matrix.to(dtype)
    matrix.data[labels[1]] = 0.4 * states[1].sign()  # row 1 is all but certain of its label
    scales = torch.where(labels >= 0, weights, 0.0)[:, None]
    into, matrix_grad = torch.empty_like(states), torch.ones(matrix.shape)
    targets = labels.clamp(min=0)[:, None]
    losses = head_chunk.rows_on_gpu(states.detach(), matrix.detach(), targets, scales, into, matrix_grad, first)
    leaves = [part.double().requires_grad_() for part in (states, matrix)]
    exact = F.cross_entropy(leaves[0] @ leaves[1].T, targets.squeeze(1), reduction="none")
    wanted = torch.autograd.grad((exact * scales.squeeze(1)).sum(), leaves)
    far = 1e-6 if dtype == torch.float32 else BF16
    assert relative(losses, exact.detach()) < far
    assert relative(into, wanted[0]) < far
    assert relative(matrix_grad if first else matrix_grad - 1, wanted[1]) < far
    assert relative(into[1], wanted[0][1]) < (1e-5 if dtype == torch.float32 else 8 * BF16)
    assert bool((into[::5] == 0).all())


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_a_gpus_gradients_are_written_over_what_is_in_their_memory(rows: int) -> None:
    """By the first rows, whose matrix gradient nothing was added to before; without rows it is 0."""
    states, matrix, labels, weights = (part.detach() for part in given())
    targets, scales = labels.clamp(min=0)[:, None], weights[:, None]
    into, matrix_grad = torch.full_like(states, torch.nan), torch.full_like(matrix, torch.nan)
    losses = head_chunk.loss_on_gpu(states, matrix, targets, scales, rows, into, matrix_grad)
    at_once, of_matrix = torch.empty_like(states), torch.empty_like(matrix)
    expected = head_chunk.loss_on_gpu(states, matrix, targets, scales, len(states), at_once, of_matrix)
    assert relative(losses, expected) < 1e-6
    assert relative(into, at_once) < 1e-6
    assert relative(matrix_grad, of_matrix) < 1e-6
    head_chunk.loss_on_gpu(states[:0], matrix, targets[:0], scales[:0], rows, into[:0], matrix_grad)
    assert not matrix_grad.any()


# ------------------------------------------------- whole logits, where they are few


def test_few_logits_are_made_as_a_whole_with_the_bits_of_the_plain_form() -> None:
    """Results of the miniatures were made so."""
    states, matrix, labels, _ = given(tokens=4096, width=8, vocab=1024)  # the largest micro-batch of any of them
    leaves = [states.requires_grad_(), matrix.requires_grad_()]
    total, other = ops.head_loss(states, matrix, labels), ops.cross_entropy(F.linear(states, matrix), labels).sum()
    assert torch.equal(total, other)
    assert all(map(torch.equal, gradients(total, leaves), gradients(other, leaves)))


def test_one_position_more_and_they_never_are() -> None:
    states, matrix, labels, _ = given(tokens=4097, width=4, vocab=1024)
    with Live() as live:
        total = ops.head_loss(states, matrix, labels)
        losses = ops.token_losses(states, matrix, labels)
    assert live.largest == head.ON_CPU * torch.float32.itemsize
    exact = plain(states, matrix, labels, torch.ones(4097))
    assert total.item() == pytest.approx(exact.item(), rel=1e-6)
    assert losses.double().sum().item() == pytest.approx(exact.item(), rel=1e-6)


@pytest.mark.parametrize("size", [Chunk(64, 100), Chunk(64, 30), None])
def test_capped_logits_have_the_loss_and_the_gradients_of_the_plain_form(size: Chunk | None) -> None:
    """Gemma 2's logits: softcap * tanh(z / softcap), in one piece of the vocabulary and in several."""
    generator = torch.Generator().manual_seed(5)
    drawn = [torch.randn(shape, generator=generator) for shape in ((90, 8), (100, 8))]
    labels = torch.randint(0, 100, (90,), generator=generator)
    labels[::7] = -100
    weights = torch.rand(90, generator=generator)
    states, matrix = (one.clone().requires_grad_() for one in drawn)
    exact = [one.double().requires_grad_() for one in drawn]
    total, losses = ops.weighted_head_loss(states, matrix, labels, weights, size, softcap=1.5)
    logits = 1.5 * (exact[0] @ exact[1].T / 1.5).tanh()
    wanted = F.cross_entropy(logits, labels, reduction="none", ignore_index=-100)
    (wanted * weights).sum().backward()
    total.backward()
    assert (losses - wanted).abs().max() <= 1e-5
    for mine, other in zip((states, matrix), exact, strict=True):
        assert mine.grad is not None
        assert other.grad is not None
        assert (mine.grad - other.grad).abs().max() <= 1e-5
    assert ops.head_loss(states, matrix, labels, 1.5).item() == pytest.approx(wanted.sum().item(), rel=1e-5)
    assert (ops.token_losses(states, matrix, labels, 1.5) - wanted).abs().max() <= 1e-5


@pytest.mark.parametrize("softcap", [None, 1.5])
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size.rows}x{size.words}")
def test_a_z_loss_adds_the_square_of_the_normaliser_s_logarithm_and_its_gradients(
    size: Chunk, softcap: float | None
) -> None:
    states, matrix, labels, weights = given()
    leaves, z = [part.requires_grad_() for part in (states, matrix, weights)], 0.05
    total, losses, squares = ops.regularised_head_loss(states, matrix, labels, weights, z, size, softcap)
    logits = ops.capped(states.double() @ matrix.double().T, softcap)
    exact_squares = torch.where(labels == -100, 0.0, logits.logsumexp(1).square())
    cross = F.cross_entropy(logits, labels, ignore_index=-100, reduction="none")
    exact = ((cross + z * exact_squares) * weights.double()).sum()
    assert total.item() == pytest.approx(exact.item(), rel=1e-6)
    assert relative(losses, cross.detach()) < 1e-6
    assert relative(squares, exact_squares.detach()) < 1e-6
    for mine, other in zip(gradients(total, leaves), gradients(exact, leaves), strict=True):
        assert relative(mine, other) < 1e-6
