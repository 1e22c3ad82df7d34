"""Operations over many tensors in a few kernels: AdamW's update, the norm of all gradients, scaling.

On a GPU, Apex's kernels where they are installed and torch's fused ones otherwise. On a CPU the plain forms; AdamW's
is `stages.train.adamw`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from stages.models.ops import apex_forms
from stages.models.ops.backend import apex
from stages.models.ops.update import Update


def fused_adamw(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    first: Sequence[Tensor],
    second: Sequence[Tensor],
    at: Update,
) -> None:
    """What `stages.train.adamw.adamw_step` does, of tensors on a GPU: fp32, contiguous, at least one."""
    lists = (parameters, gradients, first, second)
    if (amp := apex("adamw")) is not None:
        apex_forms.adamw(amp, *lists, at)
    else:
        torch_adamw(*lists, at)


def torch_adamw(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    first: Sequence[Tensor],
    second: Sequence[Tensor],
    at: Update,
) -> None:
    """The kernel of torch.optim.AdamW(fused=True), which reads the step from the device."""
    count = torch.full((), float(at.step), device=parameters[0].device)
    divisor = None if at.factor is None else at.factor.reciprocal()
    torch._fused_adamw_(
        list(parameters), list(gradients), list(first), list(second), [], [count] * len(parameters),
        amsgrad=False, lr=at.lr, beta1=at.beta1, beta2=at.beta2, weight_decay=at.weight_decay, eps=at.eps,
        maximize=False, grad_scale=divisor,
    )  # fmt: skip


def global_norm(tensors: Iterable[Tensor]) -> Tensor:
    """Euclidean norm over all tensors together, accumulated in fp32: what gradient clipping divides by."""
    listed = list(tensors)
    fits = listed[0].is_cuda and all(tensor.dtype == torch.float32 and tensor.is_contiguous() for tensor in listed)
    if fits and (amp := apex("global_norm")) is not None:
        return apex_forms.global_norm(amp, listed)
    return torch_norm(listed)


def torch_norm(tensors: Sequence[Tensor]) -> Tensor:
    """The same by torch's kernels for lists."""
    norms = torch._foreach_norm([tensor.float() for tensor in tensors], 2)
    return torch.linalg.vector_norm(torch.stack(norms))


def scale(tensors: Sequence[Tensor], factor: float) -> None:
    """Multiply every tensor by a number, in place."""
    if not tensors:
        return
    if tensors[0].is_cuda and (amp := apex("scale")) is not None:
        apex_forms.scale(amp, tensors, factor)
    else:
        torch._foreach_mul_(tensors, factor)
