"""How NVIDIA Apex's kernels are called. Read off its sources (commit in `apex_build`).

Every function takes the module that has the kernels, so that a test can put one in its place that checks the arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

import torch
from torch import Tensor

from stages.models.ops.labels import IGNORED
from stages.models.ops.update import Update

CHUNK = 2048 * 32  # elements a thread block works on, as apex.multi_tensor_apply sets it
DECOUPLED = 1  # ADAM_MODE_1 of csrc/multi_tensor_adam.cu: AdamW
MOST_LOGITS = 2**31  # csrc/xentropy_kernel.cu's backward pass multiplies row and vocabulary in 32 bits


def rms_norm(fused: ModuleType, x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """As `functional.rms_norm`. States in bf16 next to a gain in fp32 are widened: no kernel is for that pair."""
    with torch.autocast("cuda", enabled=False):
        if x.dtype != weight.dtype:
            x = x.to(weight.dtype)
        return fused.fused_rms_norm_affine(x, weight, weight.shape, eps)


def cross_entropy(fused: ModuleType, logits: Tensor, labels: Tensor) -> Tensor:
    """As `functional.cross_entropy`, for fewer than MOST_LOGITS logits.

    The kernel reads logits[label] for every label and masks afterwards, so -100 would read outside; its conversion
    `half_to_float` is for fp16 alone; and it refuses to be called without a row.
    """
    if not len(labels):
        return logits.float().sum(1)
    supervised = labels != IGNORED
    losses = fused.SoftmaxCrossEntropyLoss.apply(logits.float(), labels.clamp(min=0), 0.0, IGNORED, False)
    return torch.where(supervised, losses, 0.0)


def adamw(
    amp: ModuleType,
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    first: Sequence[Tensor],
    second: Sequence[Tensor],
    at: Update,
) -> None:
    """As `multi_tensor.fused_adamw`: the kernel of apex.optimizers.FusedAdam, which does not scale gradients."""
    if at.factor is not None:
        torch._foreach_mul_(list(gradients), at.factor)
    lists = [list(gradients), list(parameters), list(first), list(second)]
    flag = _flag(parameters[0])
    amp.multi_tensor_adam(CHUNK, flag, lists, at.lr, at.beta1, at.beta2, at.eps, at.step, DECOUPLED, 1, at.weight_decay)


def global_norm(amp: ModuleType, tensors: Sequence[Tensor]) -> Tensor:
    """As `multi_tensor.global_norm`, of fp32 tensors.

    Without those of no elements, such as shared experts of no width: csrc/multi_tensor_apply.cuh starts a kernel at the
    last element of a tensor, and where the last one has none, tensors before it are not read.
    """
    some = [tensor for tensor in tensors if tensor.numel()]
    total, _ = amp.multi_tensor_l2norm(CHUNK, _flag(tensors[0]), [some], False)
    return total.squeeze(0)


def scale(amp: ModuleType, tensors: Sequence[Tensor], factor: float) -> None:
    """As `multi_tensor.scale`."""
    amp.multi_tensor_scale(CHUNK, _flag(tensors[0]), [list(tensors), list(tensors)], factor)


def _flag(like: Tensor) -> Tensor:
    """Where the kernels note that something was not finite; the loop looks at the loss and the norm instead."""
    return torch.zeros(1, dtype=torch.int32, device=like.device)
