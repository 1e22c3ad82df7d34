"""The LM head and its cross entropy in one pass, chunk by chunk: logits of a long micro-batch never exist as a whole.

The weight of every token's loss is known before the loss is (1, or Ouro's exit probabilities, which come from the
gates), so the gradients are taken while a chunk's logits are there, as Liger Kernel does (arXiv 2410.10989). What
waits for the backward pass are the gradients themselves: of the states [N, D], and of the matrix [V, D] in fp32. Taken
in the backward pass they would exist together at its end all the same, and cost a fourth product of their size.

Products are in autocast's precision where that is on; softmax, losses and sums over chunks are in fp32. A row has one
label, so no two writes meet, and no sum has an order that a GPU chooses.

Shapes: N positions, n of a chunk, V words of the vocabulary, W of a piece, D the model's width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.models.ops.functional import cross_entropy
from stages.models.ops.head_chunk import loss_on_gpu
from stages.models.ops.head_pieces import loss_in_pieces
from stages.models.ops.labels import IGNORED

WHOLE = 1 << 22  # logits up to which they are made in one piece: 16 MiB in fp32, as many as any miniature has
ON_CPU = 1 << 17  # logits of a chunk: 512 KiB in fp32, which fits the second cache level
ON_GPU = 1 << 27  # 512 MiB in fp32: 1,024 rows of 128Ki words, enough to keep a GPU's matrix units busy
TOGETHER = 4  # chunks on a GPU whose gradients are two products: 1 GiB of slopes in bf16
FEWEST = 64  # rows of a chunk at least: products of a few rows read the matrix for little
WIDEST = 1 << 17  # words of a chunk on a CPU: a larger vocabulary is gone through in pieces


@dataclass(frozen=True)
class Chunk:
    """Positions and words whose logits are made at once."""

    rows: int
    words: int


def whole(rows: int, vocab: int) -> bool:
    """Whether an unweighted loss is taken of whole logits: where they are few.

    It depends on the micro-batch alone, since the two ways differ in their last bits.
    """
    return rows * vocab <= WHOLE


def chunk(vocab: int, device: torch.device) -> Chunk:
    """The chunk for a vocabulary: a function of it and of the kind of device, since it orders the sums."""
    if device.type == "cpu":
        words = min(vocab, WIDEST)
        return Chunk(max(FEWEST, ON_CPU // words), words)
    return Chunk(max(FEWEST, ON_GPU // vocab // FEWEST * FEWEST), vocab)  # whole tiles of a GPU's products


def capped(logits: Tensor, softcap: float | None) -> Tensor:
    """Logits z as softcap * tanh(z / softcap), or as they are (arXiv 2408.00118, section 2)."""
    return logits if softcap is None else softcap * (logits / softcap).tanh()


def token_losses(states: Tensor, matrix: Tensor, labels: Tensor, softcap: float | None = None) -> Tensor:
    """Loss of every position in nats, fp32 [N], 0 where the label is -100; without a gradient.

    states [N, D], matrix [V, D], labels int64 [N]; `softcap` bounds the logits.
    """
    states, matrix = states.detach(), matrix.detach()
    if whole(len(states), len(matrix)):
        return cross_entropy(capped(F.linear(states, matrix), softcap), labels)
    ones = torch.ones_like(labels, dtype=torch.float32)
    return weighted_head_loss(states, matrix, labels, ones, softcap=softcap)[1]


def head_loss(states: Tensor, matrix: Tensor, labels: Tensor, softcap: float | None = None) -> Tensor:
    """Sum of the positions' losses in nats, fp32; states [N, D] and matrix [V, D] are differentiated.

    labels int64 [N], where -100 means a loss of 0; `softcap` bounds the logits.
    """
    if whole(len(states), len(matrix)):
        return cross_entropy(capped(F.linear(states, matrix), softcap), labels).sum()
    ones = torch.ones_like(labels, dtype=torch.float32)
    return weighted_head_loss(states, matrix, labels, ones, softcap=softcap)[0]


def weighted_head_loss(
    states: Tensor,
    matrix: Tensor,
    labels: Tensor,
    weights: Tensor,
    size: Chunk | None = None,
    softcap: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Sum over n of weights[n] * CE[n], and the detached losses CE [N] in nats, in fp32.

    states [N, D], matrix [V, D] and weights fp32 [N], all three differentiated; labels int64 [N], where -100 means a
    loss of 0. `size` is `chunk`'s unless given; `softcap` bounds the logits. The backward pass can be taken once: it
    hands its gradients over.
    """
    return regularised_head_loss(states, matrix, labels, weights, 0.0, size, softcap)[:2]


def regularised_head_loss(
    states: Tensor,
    matrix: Tensor,
    labels: Tensor,
    weights: Tensor,
    z: float,
    size: Chunk | None = None,
    softcap: float | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Sum over n of weights[n] * (CE[n] + z * log(Z[n])^2), and the detached CE [N] and log(Z)^2 [N], in fp32.

    Z is the sum of a position's exponentials: the auxiliary loss of PaLM (arXiv 2204.02311, section 5), which keeps
    log(Z) near 0. At z = 0 it is not computed, and 0. All else as `weighted_head_loss`. On a GPU with z above 0 it goes
    the way of capped logits.
    """
    device = states.device.type
    factors = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else states.dtype
    if not torch.is_grad_enabled():  # a function's own `forward` knows what its inputs need, and not that
        states, matrix, weights = states.detach(), matrix.detach(), weights.detach()
    with torch.autocast(device, enabled=False):
        where = size or chunk(len(matrix), states.device)
        found = _HeadLoss.apply(states, matrix, labels, weights, where, factors, softcap, z)
    return found


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states_ND: Tensor,
        matrix_VD: Tensor,
        labels_N: Tensor,
        weights_N: Tensor,
        size: Chunk,
        factors: torch.dtype,
        softcap: float | None,
        z: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        supervised_N = labels_N != IGNORED
        targets_N1 = labels_N.clamp(min=0)[:, None]
        scales_N1 = torch.where(supervised_N, weights_N, 0.0)[:, None]
        state_grads = torch.empty_like(states_ND) if ctx.needs_input_grad[0] else None
        on_gpu = states_ND.is_cuda and size.words >= len(matrix_VD) and softcap is None and not z
        start = torch.empty_like if on_gpu else torch.zeros_like  # on a GPU it is written, not added to
        matrix_grad = start(matrix_VD, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        read = states_ND, matrix_VD.to(factors), targets_N1, scales_N1
        if on_gpu:
            losses_N = loss_on_gpu(*read, size.rows * TOGETHER, state_grads, matrix_grad)
            squares_N = torch.zeros_like(losses_N)
        else:
            losses_N, squares_N = loss_in_pieces(*read, size.rows, size.words, softcap, z, state_grads, matrix_grad)
        losses_N = torch.where(supervised_N, losses_N, 0.0)
        squares_N = torch.where(supervised_N, squares_N, 0.0)
        whole_N = losses_N + z * squares_N if z else losses_N
        ctx.save_for_backward(state_grads, matrix_grad, whole_N)
        ctx.mark_non_differentiable(losses_N, squares_N)
        return torch.dot(whole_N, weights_N), losses_N, squares_N

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        state_grads, matrix_grad, losses_N = ctx.saved_tensors
        of_states = None if state_grads is None else state_grads.mul_(grads[0])
        of_matrix = None if matrix_grad is None else matrix_grad.mul_(grads[0])
        return of_states, of_matrix, None, losses_N * grads[0] if ctx.needs_input_grad[3] else None, *[None] * 4
