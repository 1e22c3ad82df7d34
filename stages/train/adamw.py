"""AdamW with decoupled weight decay (Loshchilov & Hutter, arXiv 1711.05101), over named tensors.

Written out instead of taken from `torch.optim` so that its state is a plain mapping of named tensors, and the LR an
argument of the step: nothing but the schedule may decide it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from stages.models import ops
from stages.models.ops import Update

AT_ONCE = 1 << 16  # elements: 256 KiB of each of five lists. Over all tensors of 10.6M elements: twice the time


def adamw_step(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    first: Sequence[Tensor],
    second: Sequence[Tensor],
    at: Update,
) -> None:
    """Update parameters and both moments in place, and scale gradients in place where the update has a factor.

    theta *= 1 - lr * weight_decay, then theta -= lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps).
    """
    if not parameters:
        return
    form = ops.fused_adamw if parameters[0].is_cuda else foreach_adamw
    form(parameters, gradients, first, second, at)


def foreach_adamw(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    first: Sequence[Tensor],
    second: Sequence[Tensor],
    at: Update,
) -> None:
    """The plain form, for CPUs: one operation after the other, over a few tensors at a time, which stay in a cache."""
    for some in _few(parameters):
        weights, means, squares, slopes = parameters[some], first[some], second[some], gradients[some]
        if at.factor is not None:
            torch._foreach_mul_(slopes, at.factor)
        if at.weight_decay:
            torch._foreach_mul_(weights, 1 - at.lr * at.weight_decay)
        torch._foreach_lerp_(means, slopes, 1 - at.beta1)
        torch._foreach_mul_(squares, at.beta2)
        torch._foreach_addcmul_(squares, slopes, slopes, 1 - at.beta2)
        denominators = torch._foreach_sqrt(squares)
        torch._foreach_div_(denominators, math.sqrt(1 - at.beta2**at.step))
        torch._foreach_add_(denominators, at.eps)
        torch._foreach_addcdiv_(weights, means, denominators, -at.lr / (1 - at.beta1**at.step))


def _few(tensors: Sequence[Tensor]) -> Iterator[slice]:
    """Tensors in their order, as few at a time as have AT_ONCE elements; none is divided."""
    start = elements = 0
    for stop, tensor in enumerate(tensors, start=1):
        elements += tensor.numel()
        if elements >= AT_ONCE or stop == len(tensors):
            yield slice(start, stop)
            start, elements = stop, 0
