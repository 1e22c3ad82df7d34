"""One chunk of `head`'s loss over the whole vocabulary, in as few passes over its logits as torch's kernels allow.

Products of bf16 are added up in fp32 and left so. A token's weight scales its row of the products' other factor, which
is narrow, in the place of its logits.
"""

from __future__ import annotations

import torch
from torch import Tensor

from stages.models.ops.entries import replace_entries


def chunk_on_gpu(
    rows: Tensor, matrix: Tensor, targets: Tensor, scales: Tensor, into: Tensor | None, matrix_grad: Tensor | None
) -> Tensor:
    """Losses [n] in nats, fp32, of rows [n, D] against matrix [V, D]; targets int64 [n, 1], scales fp32 [n, 1].

    Writes the gradient of the rows, times their scales, into `into` [n, D], and adds the matrix's to `matrix_grad`
    [V, D] in fp32, where they are wanted.
    """
    scores = product(rows, matrix.T).log_softmax(1)
    picked = scores.gather(1, targets)
    if into is not None or matrix_grad is not None:
        slopes = torch.exp(scores, out=torch.empty(scores.shape, dtype=rows.dtype, device=rows.device))
        del scores
        replace_entries(slopes, targets, picked.expm1())  # p - 1 before it is rounded: near 1, p is all that is left
        if into is not None:
            into.copy_((slopes @ matrix) * scales)
        if matrix_grad is not None:
            add_product(matrix_grad, slopes.T, (rows * scales).to(rows.dtype))
    return -picked.squeeze(1)


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
