"""RMSNorm, SwiGLU's product, rotary rotation and cross entropy, each as one function.

Shapes: N positions, V words of the vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.models.ops import apex_forms, choice
from stages.models.ops.backend import apex
from stages.models.ops.entries import subtract_entries
from stages.models.ops.labels import IGNORED


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last dimension (Zhang & Sennrich 2019, arXiv 1910.07467)."""
    if x.is_cuda and (fused := apex("rms_norm")) is not None:
        return apex_forms.rms_norm(fused, x, weight, eps)
    if x.is_cuda:
        x = x if x.dtype == weight.dtype else _wide(x)  # the fused kernel wants both in one type
        return F.rms_norm(x, weight.shape, weight, eps)
    return _RMSNorm.apply(x, weight, eps)


class _RMSNorm(torch.autograd.Function):
    """torch has no kernel for CPUs and differentiates six small operations; this takes their gradient at once."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        wide, gain = _wide(x), _wide(weight)
        inverse = wide.square().mean(-1, keepdim=True).add_(eps).rsqrt_()
        normed = wide * inverse
        ctx.save_for_backward(normed, inverse, gain)
        ctx.dtypes = x.dtype, weight.dtype
        return (normed * gain).to(torch.promote_types(x.dtype, weight.dtype))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        normed, inverse, gain = ctx.saved_tensors
        outer = _wide(grads[0])
        weighted = outer * normed
        # dx = (g w - normed * mean(g w normed)) / rms, of which `along` is the mean.
        along = (weighted @ gain).div_(gain.numel()).unsqueeze(-1)
        grad = torch.addcmul(outer * gain, normed, along, value=-1).mul_(inverse)
        return grad.to(ctx.dtypes[0]), weighted.flatten(0, -2).sum(0).to(ctx.dtypes[1]), None


def _wide(x: Tensor) -> Tensor:
    """At least fp32: sums of bf16 numbers are not added up in bf16."""
    return x.float() if x.dtype.itemsize < torch.float32.itemsize else x


def silu_mul(gate: Tensor, up: Tensor) -> Tensor:
    """SwiGLU's product silu(gate) * up (Shazeer 2020, arXiv 2002.05202)."""
    if (fused := choice.fused(gate)) is not None:
        return fused.silu_mul(gate, up)
    return F.silu(gate) * up


def gelu_mul(gate: Tensor, up: Tensor) -> Tensor:
    """GEGLU's product gelu(gate) * up (arXiv 2002.05202), with GELU's tanh form (arXiv 1606.08415, section 2)."""
    return F.gelu(gate, approximate="tanh") * up


def cross_entropy(logits_NV: Tensor, labels_N: Tensor) -> Tensor:
    """Loss [N] of every position in nats, fp32; labels are int64, and the loss is 0 where one is -100."""
    few = logits_NV.numel() < apex_forms.MOST_LOGITS
    if logits_NV.is_cuda and few and (fused := apex("cross_entropy")) is not None:
        return apex_forms.cross_entropy(fused, logits_NV, labels_N)
    return _CrossEntropy.apply(logits_NV.float(), labels_N)


class _CrossEntropy(torch.autograd.Function):
    """torch's own keeps the log-probabilities and two gradients of their size; this keeps the probabilities alone.

    The highest probability is 1 / Z, where Z is the sum of exponentials relative to the highest logit: so one kernel
    takes exponentials and sum for both passes.
    """

    @staticmethod
    def forward(ctx: Any, logits_NV: Tensor, labels_N: Tensor) -> Tensor:
        chances_NV = logits_NV.softmax(-1)
        normaliser_N = logits_NV.amax(-1) - chances_NV.amax(-1).log()
        supervised_N = labels_N != IGNORED
        picked_N = logits_NV.gather(1, labels_N.clamp(min=0)[:, None]).squeeze(1)
        ctx.save_for_backward(chances_NV, labels_N, supervised_N)
        return torch.where(supervised_N, normaliser_N - picked_N, 0.0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        chances_NV, labels_N, supervised_N = ctx.saved_tensors
        # (p - 1 at the label) * scale: the first term in one buffer, the second subtracted at one entry a row.
        scale_N1 = torch.where(supervised_N, grads[0], 0.0)[:, None]
        return subtract_entries(chances_NV * scale_N1, labels_N.clamp(min=0)[:, None], scale_N1), None


class _Rotate(torch.autograd.Function):
    """A rotation is undone by the opposite rotation, so the backward pass needs the tables only."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool) -> Tensor:
        ctx.save_for_backward(cos, sin)
        ctx.interleaved = interleaved
        out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        _turn(_halves(x, interleaved), cos, sin, _halves(out, False), 1)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        cos, sin = ctx.saved_tensors
        out = torch.empty(grads[0].shape, dtype=grads[0].dtype, device=grads[0].device)
        _turn(_halves(grads[0], False), cos, sin, _halves(out, ctx.interleaved), -1)
        return out, None, None, None


def _turn(pair: tuple[Tensor, Tensor], cos: Tensor, sin: Tensor, out: tuple[Tensor, Tensor], sign: int) -> None:
    """Write `pair` turned by the angles, or against them, into `out`: in the tables' precision, rounded at its end."""
    first, second = pair
    torch.addcmul(first * cos, second, sin, value=-sign, out=out[0])
    torch.addcmul(second * cos, first, sin, value=sign, out=out[1])


def _halves(x: Tensor, interleaved: bool) -> tuple[Tensor, Tensor]:
    """The two coordinates of every rotated pair, as views."""
    if interleaved:
        return x[..., 0::2], x[..., 1::2]
    half = x.shape[-1] // 2
    return x[..., :half], x[..., half:]


def rotate(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool) -> Tensor:
    """Rotate the pairs of the last dimension of x (size d) by the angles of cos and sin (last dimension d/2).

    interleaved=False pairs dimension i with i + d/2 (Llama); True pairs 2i with 2i + 1 (DeepSeek-V3). Either way the
    result is laid out in halves, as in transformers; queries and keys share the layout, so their products agree. Of
    bf16 too the rotation is computed in fp32, and rounded once.
    """
    table = torch.promote_types(x.dtype, torch.float32)
    if x.dim() == 4 and (fused := choice.fused(x)) is not None:
        return fused.rotate(x, cos.to(table), sin.to(table), interleaved)
    return _Rotate.apply(x, cos.to(table), sin.to(table), interleaved)
