"""RMSNorm, SwiGLU's product, rotary rotation, cross entropy and the gradient norm, each as one function."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.models.ops.backend import apex

IGNORED = -100  # label of a position that is not supervised


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last dimension (Zhang & Sennrich 2019, arXiv 1910.07467).

    The Apex branch has never been executed on a GPU.
    """
    if x.is_cuda and (fused := apex("apex.normalization.fused_layer_norm")) is not None:
        return fused.fused_rms_norm_affine(x, weight, weight.shape, eps)
    if x.is_cuda:
        return F.rms_norm(x, weight.shape, weight, eps)
    return _RMSNorm.apply(x, weight, eps)


class _RMSNorm(torch.autograd.Function):
    """torch has no kernel for CPUs and differentiates six small operations; this takes their gradient at once."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        inverse = x.square().mean(-1, keepdim=True).add_(eps).rsqrt_()
        normed = x * inverse
        ctx.save_for_backward(normed, inverse, weight)
        return normed * weight

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        normed, inverse, weight = ctx.saved_tensors
        weighted = grads[0] * normed
        along = (weighted @ weight).div_(weight.numel()).unsqueeze(-1)
        grad = torch.addcmul(grads[0] * weight, normed, along, value=-1).mul_(inverse)
        return grad, weighted.flatten(0, -2).sum(0), None


def silu_mul(gate: Tensor, up: Tensor) -> Tensor:
    """SwiGLU's product silu(gate) * up (Shazeer 2020, arXiv 2002.05202)."""
    return F.silu(gate) * up


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Loss of every position in nats, fp32: logits [N, V], labels [N] int64; 0 where the label is -100.

    The Apex branch has never been executed on a GPU.
    """
    if logits.is_cuda and (fused := apex("apex.contrib.xentropy")) is not None:
        return fused.SoftmaxCrossEntropyLoss.apply(logits, labels, 0.0, IGNORED, True)
    return _CrossEntropy.apply(logits.float(), labels)


class _CrossEntropy(torch.autograd.Function):
    """torch's own keeps the log-probabilities and two gradients of their size; this keeps the logits alone."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor) -> Tensor:
        normaliser = logits.logsumexp(dim=-1)
        supervised = labels != IGNORED
        picked = logits.gather(1, labels.clamp(min=0)[:, None]).squeeze(1)
        ctx.save_for_backward(logits, labels, normaliser, supervised)
        return torch.where(supervised, normaliser - picked, 0.0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        logits, labels, normaliser, supervised = ctx.saved_tensors
        scale = torch.where(supervised, grads[0], 0.0)[:, None]
        grad = torch.sub(logits, normaliser[:, None]).exp_().mul_(scale)
        return grad.scatter_add_(1, labels.clamp(min=0)[:, None], -scale), None


def global_norm(tensors: Iterable[Tensor]) -> Tensor:
    """Euclidean norm over all tensors together, accumulated in fp32: what gradient clipping divides by."""
    norms = torch._foreach_norm([tensor.float() for tensor in tensors], 2)
    return torch.linalg.vector_norm(torch.stack(norms))


class _Rotate(torch.autograd.Function):
    """A rotation is undone by the opposite rotation, so the backward pass needs the tables only."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool) -> Tensor:
        ctx.save_for_backward(cos, sin)
        ctx.interleaved = interleaved
        first, second = _halves(x, interleaved)
        out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        out_first, out_second = _halves(out, False)
        torch.mul(first, cos, out=out_first).addcmul_(second, sin, value=-1)
        torch.mul(second, cos, out=out_second).addcmul_(first, sin)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        cos, sin = ctx.saved_tensors
        first, second = _halves(grads[0], False)
        out = torch.empty(grads[0].shape, dtype=grads[0].dtype, device=grads[0].device)
        out_first, out_second = _halves(out, ctx.interleaved)
        torch.mul(first, cos, out=out_first).addcmul_(second, sin)
        torch.mul(second, cos, out=out_second).addcmul_(first, sin, value=-1)
        return out, None, None, None


def _halves(x: Tensor, interleaved: bool) -> tuple[Tensor, Tensor]:
    """The two coordinates of every rotated pair, as views."""
    if interleaved:
        return x[..., 0::2], x[..., 1::2]
    half = x.shape[-1] // 2
    return x[..., :half], x[..., half:]


def rotate(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool) -> Tensor:
    """Rotate the pairs of the last dimension of x (size d) by the angles of cos and sin (last dimension d/2).

    interleaved=False pairs dimension i with i + d/2 (Llama); True pairs 2i with 2i + 1 (DeepSeek-V3). Either way the
    result is laid out in halves, as in transformers; queries and keys share the layout, so their products agree.
    """
    return _Rotate.apply(x, cos.to(x.dtype), sin.to(x.dtype), interleaved)
