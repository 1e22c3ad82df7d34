"""Rows of `head`'s loss over the whole vocabulary, in as few passes over their logits as torch's kernels allow.

Products of bf16 are added up in fp32 and left so. A token's weight scales its row of the products' other factor, which
is narrow, in the place of its logits. The matrix's gradient, 2 GB in fp32 at 128Ki words of 4,096 numbers, is read and
written by every product that is added to it: so the slopes of all rows are made first, a few rows at a time, since
their logits are fp32 and there twice, and multiplied together.

Shapes: N rows, n of which share their products, m of them at a time, V words of the vocabulary, D the model's width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from stages.models.ops import choice
from stages.models.ops.entries import replace_entries

AT_ONCE = 1 << 26  # logits in fp32 at a time: 256 MiB, 512 rows of 128Ki words
TILE = 64  # rows: whole tiles of a GPU's products


def loss_on_gpu(
    states_ND: Tensor,
    matrix_VD: Tensor,
    targets_N1: Tensor,
    scales_N1: Tensor,
    rows: int,
    state_grads_ND: Tensor | None,
    matrix_grad_VD: Tensor | None,
) -> Tensor:
    """Losses [N] in nats, fp32, of `rows` rows at a time; the matrix is in the precision of products.

    Writes the gradients of the states and, in fp32, of the matrix, where they are wanted, whatever was there.
    """
    losses_N = scales_N1.new_empty(len(states_ND))
    if matrix_grad_VD is not None and not len(states_ND):
        matrix_grad_VD.zero_()
    for first in range(0, len(states_ND), rows):
        part = slice(first, first + rows)
        into = None if state_grads_ND is None else state_grads_ND[part]
        rows_nD = states_ND[part].to(matrix_VD.dtype)
        losses_N[part] = rows_on_gpu(
            rows_nD, matrix_VD, targets_N1[part], scales_N1[part], into, matrix_grad_VD, first == 0
        )
    return losses_N


def rows_on_gpu(
    rows_nD: Tensor,
    matrix_VD: Tensor,
    targets_n1: Tensor,
    scales_n1: Tensor,
    into_nD: Tensor | None,
    matrix_grad_VD: Tensor | None,
    first: bool,
) -> Tensor:
    """Losses [n] in nats, fp32; targets are int64, scales fp32.

    Writes the gradient of the rows, times their scales, into `into_nD`, and adds the matrix's to `matrix_grad_VD` in
    fp32, where they are wanted; of the first rows it is written, whatever was there.
    """
    wanted = into_nD is not None or matrix_grad_VD is not None
    slopes_nV = rows_nD.new_empty(len(rows_nD), len(matrix_VD)) if wanted else None
    softmax = softmax_rows if (fused := choice.fused(rows_nD)) is None else fused.softmax_rows
    few, losses = max(TILE, AT_ONCE // len(matrix_VD) // TILE * TILE), []
    for start in range(0, len(rows_nD), few):
        part = slice(start, start + few)
        slopes_mV = None if slopes_nV is None else slopes_nV[part]
        losses.append(softmax(product(rows_nD[part], matrix_VD.T), targets_n1[part], slopes_mV))
    if slopes_nV is not None:
        if into_nD is not None:
            into_nD.copy_((slopes_nV @ matrix_VD) * scales_n1)
        if matrix_grad_VD is not None:
            (write_product if first else add_product)(
                matrix_grad_VD, slopes_nV.T, (rows_nD * scales_n1).to(rows_nD.dtype)
            )
    return torch.cat(losses).squeeze(1)


def softmax_rows(logits_mV: Tensor, labels_m1: Tensor, slopes_mV: Tensor | None) -> Tensor:
    """Losses [m, 1] in nats, fp32; writes the slopes of the logits, where they are wanted: p, of the label p - 1."""
    scores_mV = logits_mV.log_softmax(1)
    picked_m1 = scores_mV.gather(1, labels_m1)
    if slopes_mV is not None:
        # p - 1 before it is rounded: near 1, p is all that is left.
        replace_entries(torch.exp(scores_mV, out=slopes_mV), labels_m1, picked_m1.expm1())
    return -picked_m1


def product(left: Tensor, right: Tensor) -> Tensor:
    """left [a, n] @ right [n, b] in fp32. torch's CPU kernels round a product of bf16 first."""
    if left.dtype == torch.float32:
        return left @ right
    return torch.mm(left, right, out_dtype=torch.float32) if left.is_cuda else (left @ right).float()


def write_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Write left [a, n] @ right [n, b] into total [a, b], fp32."""
    if left.is_cuda and left.dtype != total.dtype:
        torch.mm(left, right, out_dtype=total.dtype, out=total)
    else:
        total.copy_(left @ right)


def add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """total [a, b], fp32, + left [a, n] @ right [n, b]."""
    if left.dtype == total.dtype:
        total.addmm_(left, right)
    elif left.is_cuda:
        torch.addmm(total, left, right, out_dtype=torch.float32, out=total)
    else:
        total.add_(left @ right)
