"""AdamW with decoupled weight decay (Loshchilov & Hutter, arXiv 1711.05101), over named tensors.

Written out instead of taken from `torch.optim` so that its state is a plain mapping of named tensors, and the LR an
argument of the step: nothing but the schedule may decide it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from stages.models import ops
from stages.models.ops import Update


def adamw_step(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    first: Sequence[Tensor],
    second: Sequence[Tensor],
    at: Update,
) -> None:
    """Update parameters and both moments in place; decay is the caller's.

    theta -= lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps).
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
    """The plain form, for CPUs: one operation after the other over the lists."""
    torch._foreach_lerp_(first, gradients, 1 - at.beta1)
    torch._foreach_mul_(second, at.beta2)
    torch._foreach_addcmul_(second, gradients, gradients, 1 - at.beta2)
    denominators = torch._foreach_sqrt(second)
    torch._foreach_div_(denominators, math.sqrt(1 - at.beta2**at.step))
    torch._foreach_add_(denominators, at.eps)
    torch._foreach_addcdiv_(parameters, first, denominators, -at.lr / (1 - at.beta1**at.step))
