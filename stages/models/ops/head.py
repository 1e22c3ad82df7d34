"""The LM head and its cross entropy in one pass, chunk by chunk: logits of a long micro-batch never exist as a whole.

The weight of every token's loss is known before the loss is (1, or Ouro's exit probabilities, which come from the
gates), so the gradients are taken while a chunk's logits are there, as Liger Kernel does (arXiv 2410.10989, section
3.2). What waits for the backward pass are the gradients themselves: of the states [N, D], and of the matrix [V, D] in
fp32. Taken in the backward pass they would exist together at its end all the same, and cost a fourth product of their
size.

Products are in autocast's precision where that is on; softmax, losses and sums over chunks are in fp32. A row has one
label, so no two writes meet, and no sum has an order that a GPU chooses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.models.ops.entries import subtract_entries
from stages.models.ops.functional import cross_entropy
from stages.models.ops.head_chunk import add_product, chunk_on_gpu
from stages.models.ops.labels import IGNORED

WHOLE = 1 << 22  # logits up to which they are made in one piece: 16 MiB in fp32, as many as any miniature has
ON_CPU = 1 << 17  # logits of a chunk: 512 KiB in fp32, which fits the second cache level
ON_GPU = 1 << 27  # 512 MiB in fp32: 1,024 rows of 128Ki words, enough to keep a GPU's matrix units busy
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
    log(Z) near 0. All else as `weighted_head_loss`. On a GPU with z above 0 it goes the way of capped logits.
    """
    device = states.device.type
    factors = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else states.dtype
    with torch.autocast(device, enabled=False):
        where = size or chunk(len(matrix), states.device)
        found = _HeadLoss.apply(states, matrix, labels, weights, where, factors, softcap, z)
    return found


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        matrix: Tensor,
        labels: Tensor,
        weights: Tensor,
        size: Chunk,
        factors: torch.dtype,
        softcap: float | None,
        z: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        supervised = labels != IGNORED
        targets = labels.clamp(min=0)[:, None]
        scales = torch.where(supervised, weights, 0.0)[:, None]
        losses, squares = torch.empty_like(weights), torch.zeros_like(weights)
        state_grads = torch.empty_like(states) if ctx.needs_input_grad[0] else None
        matrix_grad = torch.zeros_like(matrix, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        factor = matrix.to(factors)
        pieces = [slice(first, first + size.words) for first in range(0, len(matrix), size.words)]
        for first in range(0, len(states), size.rows):
            part = slice(first, first + size.rows)
            rows = states[part].to(factors)
            into = None if state_grads is None else state_grads[part]
            if rows.is_cuda and len(pieces) == 1 and softcap is None and not z:
                losses[part] = chunk_on_gpu(rows, factor, targets[part], scales[part], into, matrix_grad)
                continue
            softmax = _softmax(rows, factor, targets[part], pieces, softcap)
            losses[part] = (softmax.sums.log() + softmax.top - softmax.picked).squeeze(1)
            if z:
                log_z = softmax.sums.log() + softmax.top
                squares[part] = log_z.square().squeeze(1)
                softmax.pull = 1 + 2 * z * log_z
            if state_grads is not None or matrix_grad is not None:
                _gradients(rows, factor, targets[part], scales[part], softmax, pieces, into, matrix_grad)
        losses = torch.where(supervised, losses, 0.0)
        squares = torch.where(supervised, squares, 0.0)
        whole = losses + z * squares if z else losses
        ctx.save_for_backward(state_grads, matrix_grad, whole)
        ctx.mark_non_differentiable(losses, squares)
        return torch.dot(whole, weights), losses, squares

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        state_grads, matrix_grad, losses = ctx.saved_tensors
        of_states = None if state_grads is None else state_grads.mul_(grads[0])
        of_matrix = None if matrix_grad is None else matrix_grad.mul_(grads[0])
        return of_states, of_matrix, None, losses * grads[0] if ctx.needs_input_grad[3] else None, *[None] * 4


@dataclass
class _Softmax:
    """Of a chunk's rows, each [n, 1] in fp32: highest logit, sum of exponentials relative to it, the label's logit."""

    top: Tensor
    sums: Tensor
    picked: Tensor
    exponentials: Tensor | None  # [n, V], where the vocabulary is one piece and nothing caps the logits
    softcap: float | None
    pull: Tensor | None = None  # 1 + 2 z log(Z), by which probabilities count in the gradient; None: by 1


def _logits(rows: Tensor, matrix: Tensor, softcap: float | None) -> Tensor:
    """Scores [n, words] in fp32, in memory of their own."""
    logits = (rows @ matrix.T).float()
    return logits if softcap is None else logits.div_(softcap).tanh_().mul_(softcap)


def _softmax(rows: Tensor, matrix: Tensor, targets: Tensor, pieces: Sequence[slice], softcap: float | None) -> _Softmax:
    """One piece after another, rescaled where a higher logit is found (Milakov and Gimelshein, arXiv 1805.02867)."""
    found: _Softmax | None = None
    for piece in pieces:
        logits = _logits(rows, matrix[piece], softcap)
        places, inside = _within(targets, piece, logits)
        picked = torch.where(inside, logits.gather(1, places), 0.0)
        top = logits.amax(1, keepdim=True)
        exponentials = logits.sub_(top).exp_()
        sums = exponentials.sum(1, keepdim=True)
        if found is None:
            kept = exponentials if len(pieces) == 1 and softcap is None else None
            found = _Softmax(top, sums, picked, kept, softcap)
        else:
            higher = torch.maximum(found.top, top)
            sums = found.sums * (found.top - higher).exp() + sums * (top - higher).exp()
            found = _Softmax(higher, sums, found.picked + picked, None, softcap)
        del logits, exponentials  # before the next piece is made
    if found is None:
        raise ValueError("a vocabulary without words")
    return found


def _gradients(
    rows: Tensor,
    matrix: Tensor,
    targets: Tensor,
    scales: Tensor,
    softmax: _Softmax,
    pieces: Sequence[slice],
    into: Tensor | None,
    matrix_grad: Tensor | None,
) -> None:
    """Write the gradient of rows [n, D] into `into`, and add the matrix's to `matrix_grad` [V, D]; uses up softmax."""
    total: Tensor | None = None
    for piece in pieces:
        slopes = _slopes(rows, matrix[piece], targets, scales, softmax, piece)
        if into is not None:
            product = slopes @ matrix[piece]
            total = product if total is None else total.float().add_(product)
        if matrix_grad is not None:
            add_product(matrix_grad[piece], slopes.T, rows)
        del slopes  # before the next piece is made
    if into is not None and total is not None:
        into.copy_(total)


def _slopes(rows: Tensor, matrix: Tensor, targets: Tensor, scales: Tensor, softmax: _Softmax, piece: slice) -> Tensor:
    """The gradient [n, words] of a piece's logits, scale x (p - 1 at the label), in the precision of products."""
    logits, softmax.exponentials = softmax.exponentials, None
    steepness: Tensor | None = None
    if logits is None:
        logits = _logits(rows, matrix, softmax.softcap)
        if softmax.softcap is not None:  # d(c tanh(x / c)) / dx = 1 - tanh(x / c)^2
            steepness = (logits / softmax.softcap).square_().neg_().add_(1)
        logits.sub_(softmax.top).exp_()
    logits.mul_(scales / softmax.sums if softmax.pull is None else scales * softmax.pull / softmax.sums)
    places, inside = _within(targets, piece, logits)
    slopes = subtract_entries(logits, places, torch.where(inside, scales, 0.0))
    return (slopes if steepness is None else slopes.mul_(steepness)).to(rows.dtype)


def _within(targets: Tensor, piece: slice, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Where in a piece of the vocabulary each label is, and whether it is there at all (else a place is made up)."""
    places = (targets - piece.start).clamp(0, logits.shape[1] - 1)
    return places, places + piece.start == targets
