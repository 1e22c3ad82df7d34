"""The LM head and its cross entropy in one pass, block by block: the logits of a step never exist as a whole.

The weight of every token's loss is known before the loss is (1, or Ouro's exit probabilities, which come from the
gates), so the gradients can be taken while a block's logits are still in the cache, as Liger Kernel
(arXiv 2410.10989, section 3.2) does on GPUs. Vocabularies are the widest thing in a small model: without this, an
Ouro step of eight loops spends most of its time moving logits.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.models.ops.functional import cross_entropy
from stages.models.ops.labels import IGNORED

BLOCK = 131_072  # logits at once: 512 KiB in fp32, which fits the second cache level


def weighted_head_loss(states: Tensor, matrix: Tensor, labels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Sum over n of weights[n] * CE[n], and the detached losses CE [N] in nats.

    states [N, H], matrix [V, H] and weights [N], all three differentiated; labels int64 [N], where -100 means a loss
    of 0. On a GPU, where a product of a few rows leaves most of the machine idle, whole logits are made.
    """
    if states.is_cuda:
        losses = cross_entropy(F.linear(states, matrix), labels)
        return torch.dot(losses, weights), losses.detach()
    with torch.autocast(states.device.type, enabled=False):  # the blocks are summed in fp32, whatever the states are
        return _WeightedHeadLoss.apply(states.float(), matrix, labels, weights)


class _WeightedHeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, matrix: Tensor, labels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        supervised = labels != IGNORED
        targets = labels.clamp(min=0)[:, None]
        scales = torch.where(supervised, weights, 0.0)[:, None]
        losses = torch.empty_like(weights)
        learning = any(ctx.needs_input_grad)
        state_grads = torch.empty_like(states) if learning else None
        matrix_grad = torch.zeros_like(matrix) if learning else None
        rows = max(1, BLOCK // len(matrix))
        for first in range(0, len(states), rows):
            part = slice(first, first + rows)
            logits = states[part] @ matrix.T
            picked = logits.gather(1, targets[part])
            top = logits.amax(1, keepdim=True)
            sums = logits.sub_(top).exp_().sum(1, keepdim=True)
            losses[part] = (sums.log() + top - picked).squeeze(1)
            if state_grads is not None and matrix_grad is not None:
                logits.mul_(scales[part] / sums).scatter_add_(1, targets[part], -scales[part])
                torch.mm(logits, matrix, out=state_grads[part])
                matrix_grad.addmm_(logits.T, states[part])
        losses = torch.where(supervised, losses, 0.0)
        ctx.save_for_backward(state_grads, matrix_grad, losses)
        ctx.mark_non_differentiable(losses)
        return torch.dot(losses, weights), losses

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, Tensor]:
        state_grads, matrix_grad, losses = ctx.saved_tensors
        return state_grads * grads[0], matrix_grad * grads[0], None, losses * grads[0]
