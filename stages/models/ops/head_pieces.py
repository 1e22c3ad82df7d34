"""A chunk of the head's positions, a piece of the vocabulary at a time: softmax, then the gradients.

The logits of a piece are made again for the gradients where the vocabulary is more than one piece, or they are capped.
The gradients of capped logits take a second table of their size, the cap's slope: a chunk then has half as many rows.

Shapes: N positions, n of a chunk, V words of the vocabulary, W of a piece, D the model's width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stages.models.ops.entries import subtract_entries
from stages.models.ops.head_chunk import add_product


@dataclass
class Softmax:
    """Of a chunk's rows, each [n, 1] in fp32: highest logit, sum of exponentials relative to it, the label's logit."""

    top: Tensor
    sums: Tensor
    picked: Tensor
    exponentials: Tensor | None  # [n, V], where gradients want them, of a vocabulary of one piece without a cap
    softcap: float | None
    pull: Tensor | None = None  # 1 + 2 z log(Z), by which probabilities count in the gradient; None: by 1


def loss_in_pieces(
    states_ND: Tensor,
    matrix_VD: Tensor,
    targets_N1: Tensor,
    scales_N1: Tensor,
    rows: int,
    words: int,
    softcap: float | None,
    z: float,
    state_grads_ND: Tensor | None,
    matrix_grad_VD: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Losses [N] in nats and, with z above 0, log(Z)^2 [N], in fp32; the matrix is in the precision of products.

    Writes the states' gradient, and adds the matrix's to `matrix_grad_VD`, where they are wanted.
    """
    losses_N, squares_N = scales_N1.new_empty(len(states_ND)), scales_N1.new_zeros(len(states_ND))
    pieces = [slice(first, first + words) for first in range(0, len(matrix_VD), words)]
    wanted = state_grads_ND is not None or matrix_grad_VD is not None
    keep = wanted and len(pieces) == 1 and softcap is None
    if wanted and softcap is not None:
        rows = -(-rows // 2)
    for first in range(0, len(states_ND), rows):
        part = slice(first, first + rows)
        rows_nD, targets_n1, scales_n1 = states_ND[part].to(matrix_VD.dtype), targets_N1[part], scales_N1[part]
        softmax = softmax_of(rows_nD, matrix_VD, targets_n1, pieces, softcap, keep)
        log_z_n1 = softmax.sums.log() + softmax.top
        losses_N[part] = (log_z_n1 - softmax.picked).squeeze(1)
        if z:
            squares_N[part] = log_z_n1.square().squeeze(1)
            # d(z log(Z)^2) / dlogit = 2 z log(Z) p: the penalty only scales the probabilities.
            softmax.pull = 1 + 2 * z * log_z_n1
        if wanted:
            into_nD = None if state_grads_ND is None else state_grads_ND[part]
            gradients(rows_nD, matrix_VD, targets_n1, scales_n1, softmax, pieces, into_nD, matrix_grad_VD)
    return losses_N, squares_N


def _logits(rows_nD: Tensor, matrix_WD: Tensor, softcap: float | None) -> Tensor:
    """Scores [n, W] in fp32, in memory of their own."""
    logits_nW = (rows_nD @ matrix_WD.T).float()
    return logits_nW if softcap is None else logits_nW.div_(softcap).tanh_().mul_(softcap)


def softmax_of(
    rows_nD: Tensor,
    matrix_VD: Tensor,
    targets_n1: Tensor,
    pieces: Sequence[slice],
    softcap: float | None,
    keep: bool,
) -> Softmax:
    """One piece after another, rescaled where a higher logit is found (Milakov and Gimelshein, arXiv 1805.02867)."""
    found: Softmax | None = None
    for piece in pieces:
        logits_nW = _logits(rows_nD, matrix_VD[piece], softcap)
        places_n1, inside_n1 = _within(targets_n1, piece, logits_nW)
        picked_n1 = torch.where(inside_n1, logits_nW.gather(1, places_n1), 0.0)
        top_n1 = logits_nW.amax(1, keepdim=True)
        exponentials_nW = logits_nW.sub_(top_n1).exp_()
        sums_n1 = exponentials_nW.sum(1, keepdim=True)
        if found is None:
            found = Softmax(top_n1, sums_n1, picked_n1, exponentials_nW if keep else None, softcap)
        else:
            higher_n1 = torch.maximum(found.top, top_n1)
            sums_n1 = found.sums * (found.top - higher_n1).exp() + sums_n1 * (top_n1 - higher_n1).exp()
            found = Softmax(higher_n1, sums_n1, found.picked + picked_n1, None, softcap)
        del logits_nW, exponentials_nW  # before the next piece is made
    if found is None:
        raise ValueError("a vocabulary without words")
    return found


def gradients(
    rows_nD: Tensor,
    matrix_VD: Tensor,
    targets_n1: Tensor,
    scales_n1: Tensor,
    softmax: Softmax,
    pieces: Sequence[slice],
    into: Tensor | None,
    matrix_grad: Tensor | None,
) -> None:
    """Write the rows' gradient into `into` [n, D], and add the matrix's to `matrix_grad` [V, D]; uses up softmax."""
    total_nD: Tensor | None = None
    for piece in pieces:
        slopes_nW = _slopes(rows_nD, matrix_VD[piece], targets_n1, scales_n1, softmax, piece)
        if into is not None:
            product_nD = slopes_nW @ matrix_VD[piece]
            total_nD = product_nD if total_nD is None else total_nD.float().add_(product_nD)
        if matrix_grad is not None:
            add_product(matrix_grad[piece], slopes_nW.T, rows_nD)
        del slopes_nW  # before the next piece is made
    if into is not None and total_nD is not None:
        into.copy_(total_nD)


def _slopes(
    rows_nD: Tensor, matrix_WD: Tensor, targets_n1: Tensor, scales_n1: Tensor, softmax: Softmax, piece: slice
) -> Tensor:
    """The gradient [n, W] of a piece's logits, scale x (p - 1 at the label), in the precision of products."""
    logits_nW, softmax.exponentials = softmax.exponentials, None
    steepness_nW: Tensor | None = None
    if logits_nW is None:
        logits_nW = _logits(rows_nD, matrix_WD, softmax.softcap)
        if softmax.softcap is not None:  # d(c tanh(x / c)) / dx = 1 - tanh(x / c)^2
            steepness_nW = (logits_nW / softmax.softcap).square_().neg_().add_(1)
        logits_nW.sub_(softmax.top).exp_()
    logits_nW.mul_(scales_n1 / softmax.sums if softmax.pull is None else scales_n1 * softmax.pull / softmax.sums)
    places_n1, inside_n1 = _within(targets_n1, piece, logits_nW)
    slopes_nW = subtract_entries(logits_nW, places_n1, torch.where(inside_n1, scales_n1, 0.0))
    return (slopes_nW if steepness_nW is None else slopes_nW.mul_(steepness_nW)).to(rows_nD.dtype)


def _within(targets_n1: Tensor, piece: slice, logits_nW: Tensor) -> tuple[Tensor, Tensor]:
    """Where in a piece of the vocabulary each label is, and whether it is there at all (else a place is made up)."""
    places_n1 = (targets_n1 - piece.start).clamp(0, logits_nW.shape[1] - 1)
    return places_n1, places_n1 + piece.start == targets_n1
