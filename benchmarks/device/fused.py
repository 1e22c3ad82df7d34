"""Section: what a step computes between its products, as it is, beside torch's own operations and torch.compile.

Sizes are those of Llama 3.1 8B with rows of 8,192 positions. A step cannot take torch.compile's kernels: they are
chosen by their speed at the first call, so results do not have the same bits in every run.

Shapes: N positions, D a width, V words, H heads of d numbers.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from functools import partial
from unittest.mock import patch

import torch
from torch import Tensor

from benchmarks.device.rows import Row, Rows, against, figure, first_line, seconds
from benchmarks.device.sections import Size
from stages.models.ops import choice, functional, head_chunk

Form = Callable[..., Tensor]
EPS, REPEAT = 1e-5, 20
FAR = 2**-6  # relative, in bf16: both round at other places


def run(size: Size, rows: Rows) -> None:
    for name, operation in (("SwiGLU", swiglu), ("norm", norm), ("rotation", rotation), ("loss", slopes)):
        rows.measure(name, partial(operation, size))


def compared(name: str, setting: str, size: Size, ours: Form, formula: Form, *inputs: Tensor) -> list[Row]:
    """Milliseconds of both passes (of one, where no input has a gradient): as it is, of torch's operations, compiled.

    An alternative that does not run here leaves ours; one that computes something else is a failure.
    """
    # A rehearsal does not need a C++ compiler.
    compiled = torch.compile(formula, dynamic=False, backend="eager" if size.rehearsed else "inductor")
    wanted = [x for x in inputs if x.requires_grad]
    grad = torch.randn_like(ours(*inputs))
    setting = f"{setting}, {'both passes' if wanted else 'forward'}"

    def passes(form: Form) -> list[Tensor]:
        out = form(*inputs)
        return [out.detach(), *(torch.autograd.grad(out, wanted, grad) if wanted else ())]

    def milliseconds(form: Form) -> float:
        return seconds(partial(passes, form), torch.device(size.device), REPEAT) * 1e3

    mine, took = passes(ours), milliseconds(ours)

    def beside(other: str, form: Form) -> Row:
        try:
            theirs, time = passes(form), milliseconds(form)
        except Exception as error:
            traceback.print_exc()
            return Row(name, setting, figure(took, "ms"), f"none: {other}: {first_line(error)}")
        off = max(float((a.float() - b.float()).norm() / a.float().norm()) for a, b in zip(mine, theirs, strict=True))
        if not off < FAR:
            return Row(name, setting, f"failed: {off:.1e} from {other}, relative; allowed: {FAR:.1e}", failed=True)
        return against(name, setting, took, (other, time), "ms")

    return [beside("torch's operations", partial(unfused, ours)), beside("torch.compile", compiled)]


def unfused(form: Form, *inputs: Tensor) -> Tensor:
    """Without Triton's kernels."""
    with patch.object(choice, "fused", lambda x: None):
        return form(*inputs)


def normal(size: Size, *shape: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    return torch.randn(shape, device=size.device, dtype=dtype)


def swiglu(size: Size) -> list[Row]:
    """The product of gate and up."""
    shape = (64, 96) if size.rehearsed else (8192, 14_336)
    gate, up = normal(size, *shape).requires_grad_(), normal(size, *shape).requires_grad_()
    setting = f"{shape[0]:,} x {shape[1]:,}, bf16"
    return compared("SwiGLU's product", setting, size, functional.silu_mul, functional.silu_mul, gate, up)


def norm(size: Size) -> list[Row]:
    """The norm of the fp32 stream, and its conversion for products."""
    shape = (64, 96) if size.rehearsed else (8192, 4096)
    x_ND = normal(size, *shape, dtype=torch.float32).requires_grad_()
    gain_D = torch.ones(shape[1], device=size.device).requires_grad_()

    def ours(x_ND: Tensor, gain_D: Tensor) -> Tensor:
        return functional.rms_norm(x_ND, gain_D, EPS).bfloat16()

    def formula(x_ND: Tensor, gain_D: Tensor) -> Tensor:
        return (x_ND * (x_ND.square().mean(-1, keepdim=True) + EPS).rsqrt() * gain_D).bfloat16()

    setting = f"{shape[0]:,} x {shape[1]:,}, fp32 to bf16"
    return compared("RMSNorm and its conversion", setting, size, ours, formula, x_ND, gain_D)


def rotation(size: Size) -> list[Row]:
    """Rotary positions of queries."""
    positions, heads, width = (64, 2, 16) if size.rehearsed else (8192, 32, 128)
    x_1NHd = normal(size, 1, positions, heads, width).requires_grad_()
    angles_N1d = normal(size, positions, 1, width // 2, dtype=torch.float32)

    def formula(x_1NHd: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        first, second = x_1NHd.chunk(2, -1)
        return torch.cat((first * cos - second * sin, second * cos + first * sin), -1).to(x_1NHd.dtype)

    ours = partial(functional.rotate, interleaved=False)
    setting = f"{positions:,} x {heads} x {width}, bf16"
    return compared("rotary positions", setting, size, ours, formula, x_1NHd, angles_N1d.cos(), angles_N1d.sin())


def slopes(size: Size) -> list[Row]:
    """From logits to their gradient."""
    rows, vocab = (8, 500) if size.rehearsed else (512, 128_256)
    logits_mV = normal(size, rows, vocab, dtype=torch.float32)
    labels_m1 = torch.arange(rows, device=size.device)[:, None]
    slopes_mV = logits_mV.bfloat16()

    def ours(logits_mV: Tensor) -> Tensor:
        fused = choice.fused(slopes_mV)
        (head_chunk if fused is None else fused).softmax_rows(logits_mV, labels_m1, slopes_mV)
        return slopes_mV

    def formula(logits_mV: Tensor) -> Tensor:
        slopes_mV = logits_mV.softmax(1)
        return torch.where(words == labels_m1, slopes_mV - 1, slopes_mV).bfloat16()

    words = torch.arange(vocab, device=size.device)
    return compared("slopes of the loss", f"{rows:,} x {vocab:,}, fp32 to bf16", size, ours, formula, logits_mV)
