"""Operations in bf16 on a GPU, by the kernels of `triton_kernels`, with their gradients.

Shapes: m rows, V words of the vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from stages.models.ops import triton_kernels as kernels

AT_ONCE = 2048  # numbers of one program: 16 of each of 4 warps' threads
HEADS = 8  # of a position at a time
WORDS, WARPS = 4096, 8  # of the vocabulary at a time, by the warps of one row


def silu_mul(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up, of one shape."""
    return _SiluMul.apply(gate, up)


class _SiluMul(torch.autograd.Function):
    """Keeps the factors alone for the backward pass."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        gate, up = gate.contiguous(), up.contiguous()
        ctx.save_for_backward(gate, up)
        out = torch.empty_like(gate)
        kernels.silu_mul[_programs(gate)](gate, up, out, gate.numel(), BLOCK=AT_ONCE)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        into = torch.empty_like(gate), torch.empty_like(up)
        kernels.silu_mul_backward[_programs(gate)](grads[0].contiguous(), gate, up, *into, gate.numel(), BLOCK=AT_ONCE)
        return into


def _programs(x: Tensor) -> tuple[int]:
    return (-(-x.numel() // AT_ONCE),)


def rotate(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool) -> Tensor:
    """As `functional.rotate`, of x [B, T, H, d] and tables in fp32 that can be expanded to [B, T, H, d / 2]."""
    return _Rotate.apply(x, cos, sin, interleaved)


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool) -> Tensor:
        ctx.save_for_backward(cos, sin)
        ctx.interleaved = interleaved
        return _turned(x, cos, sin, interleaved, False, 1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        cos, sin = ctx.saved_tensors
        return _turned(grads[0], cos, sin, False, ctx.interleaved, -1), None, None, None


def _turned(x: Tensor, cos: Tensor, sin: Tensor, pairs_read: bool, pairs_written: bool, sign: int) -> Tensor:
    """x turned by the angles times `sign`; coordinates are read and written as pairs, or as halves."""
    rows, positions, heads, width = x.shape
    half = width // 2
    cos, sin = (table.contiguous().expand(*x.shape[:-1], half) for table in (cos, sin))
    *strides, step = x.stride()
    read = (2 * step, step) if pairs_read else (step, half * step)
    written = (2, 1) if pairs_written else (1, half)
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    kernels.rotate[(rows * positions,)](
        x, cos, sin, out, positions, *strides, *read, *cos.stride()[:-1], *written,
        SIGN=sign, HEADS=heads, PAIRS=half, AT_ONCE=min(_power(heads), HEADS), LANES=_power(half),
    )  # fmt: skip
    return out


def _power(number: int) -> int:
    """The least power of two that is no smaller."""
    return 1 << (number - 1).bit_length()


def softmax_rows(logits_mV: Tensor, labels_m1: Tensor, slopes_mV: Tensor | None) -> Tensor:
    """Losses [m, 1] in nats, fp32; writes the slopes of the logits, where they are wanted: p, of the label p - 1."""
    losses_m1 = torch.empty_like(labels_m1, dtype=torch.float32)
    kernels.softmax_rows[(len(logits_mV),)](
        logits_mV, labels_m1, slopes_mV, losses_m1,
        WORDS=logits_mV.shape[1], SLOPES=slopes_mV is not None, BLOCK=WORDS, num_warps=WARPS,
    )  # fmt: skip
    return losses_m1
