"""One chunk of `head`'s loss over the whole vocabulary, in as few passes over its logits as torch's kernels allow.

Products of bf16 are added up in fp32 and left so. A token's weight scales its row of the products' other factor, which
is narrow, in the place of its logits.

Shapes: n positions of the chunk, V words of the vocabulary, D the model's width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from stages.models.ops.entries import replace_entries


def chunk_on_gpu(
    rows_nD: Tensor,
    matrix_VD: Tensor,
    targets_n1: Tensor,
    scales_n1: Tensor,
    into_nD: Tensor | None,
    matrix_grad_VD: Tensor | None,
) -> Tensor:
    """Losses [n] in nats, fp32; targets are int64, scales fp32.

    Writes the gradient of the rows, times their scales, into `into_nD`, and adds the matrix's to `matrix_grad_VD` in
    fp32, where they are wanted.
    """
    scores_nV = product(rows_nD, matrix_VD.T).log_softmax(1)
    picked_n1 = scores_nV.gather(1, targets_n1)
    if into_nD is not None or matrix_grad_VD is not None:
        slopes_nV = torch.exp(scores_nV, out=torch.empty(scores_nV.shape, dtype=rows_nD.dtype, device=rows_nD.device))
        del scores_nV
        # p - 1 before it is rounded: near 1, p is all that is left.
        replace_entries(slopes_nV, targets_n1, picked_n1.expm1())
        if into_nD is not None:
            into_nD.copy_((slopes_nV @ matrix_VD) * scales_n1)
        if matrix_grad_VD is not None:
            add_product(matrix_grad_VD, slopes_nV.T, (rows_nD * scales_n1).to(rows_nD.dtype))
    return -picked_n1.squeeze(1)


def product(left: Tensor, right: Tensor) -> Tensor:
    """left [a, n] @ right [n, b] in fp32. torch's CPU kernels round a product of bf16 first."""
    if left.dtype == torch.float32:
        return left @ right
    return torch.mm(left, right, out_dtype=torch.float32) if left.is_cuda else (left @ right).float()


def add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """total [a, b], fp32, + left [a, n] @ right [n, b]."""
    if left.dtype == total.dtype:
        total.addmm_(left, right)
    elif left.is_cuda:
        torch.addmm(total, left, right, out_dtype=torch.float32, out=total)
    else:
        total.add_(left @ right)
