"""Section: what lies between a layer's products, as it is, beside one kernel for all of it, written by torch.compile.

Sizes are those of Llama 3.1 8B with rows of 8,192 positions. It says which kernels would be worth writing by hand:
torch.compile chooses its kernels by their speed at the first call, so results do not have the same bits in every run.

Shapes: N positions, D a width, V words, H heads of d numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks.device.rows import Row, Rows, against, seconds
from benchmarks.device.sections import Size
from stages.models.ops import functional

Form = Callable[..., Tensor]
EPS, REPEAT = 1e-5, 20
FAR = 2**-6  # relative, in bf16: both round at other places


def run(size: Size, rows: Rows) -> None:
    for name, operation in (("SwiGLU", swiglu), ("norm", norm), ("rotation", rotation), ("loss", slopes)):
        rows.measure(name, partial(operation, size))


def compared(name: str, setting: str, size: Size, ours: Form, formula: Form, *inputs: Tensor) -> Row:
    """Milliseconds of both passes (of one, where no input has a gradient), as it is and compiled.

    Raises ValueError where both do not compute the same.
    """
    # A rehearsal does not need a C++ compiler.
    one = torch.compile(formula, dynamic=False, backend="eager" if size.rehearsed else "inductor")
    wanted = [x for x in inputs if x.requires_grad]
    grad = torch.randn_like(ours(*inputs))

    def passes(form: Form) -> list[Tensor]:
        out = form(*inputs)
        return [out.detach(), *(torch.autograd.grad(out, wanted, grad) if wanted else ())]

    for mine, theirs in zip(passes(ours), passes(one), strict=True):
        distance = float((mine.float() - theirs.float()).norm() / mine.float().norm())
        if not distance < FAR:
            raise ValueError(f"{name}: {distance:.1e} from torch.compile's, relative; allowed: {FAR:.1e}")
    times = [seconds(partial(passes, form), torch.device(size.device), REPEAT) * 1e3 for form in (ours, one)]
    return against(
        name, f"{setting}, {'both passes' if wanted else 'forward'}", times[0], ("torch.compile", times[1]), "ms"
    )


def normal(size: Size, *shape: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    return torch.randn(shape, device=size.device, dtype=dtype)


def swiglu(size: Size) -> Row:
    """The product of gate and up."""
    shape = (64, 96) if size.rehearsed else (8192, 14_336)
    gate, up = normal(size, *shape).requires_grad_(), normal(size, *shape).requires_grad_()
    setting = f"{shape[0]:,} x {shape[1]:,}, bf16"
    return compared("SwiGLU's product", setting, size, functional.silu_mul, functional.silu_mul, gate, up)


def norm(size: Size) -> Row:
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


def rotation(size: Size) -> Row:
    """Rotary positions of queries."""
    positions, heads, width = (64, 2, 16) if size.rehearsed else (8192, 32, 128)
    x_HNd = normal(size, heads, positions, width).requires_grad_()
    angles_Nd = normal(size, positions, width // 2, dtype=torch.float32)

    def formula(x_HNd: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        first, second = x_HNd.chunk(2, -1)
        return torch.cat((first * cos - second * sin, second * cos + first * sin), -1).to(x_HNd.dtype)

    ours = partial(functional.rotate, interleaved=False)
    setting = f"{positions:,} x {heads} x {width}, bf16"
    return compared("rotary positions", setting, size, ours, formula, x_HNd, angles_Nd.cos(), angles_Nd.sin())


def slopes(size: Size) -> Row:
    """From logits to their gradient, but for the label's entry (stages/models/ops/head_chunk.py)."""
    rows, vocab = (8, 500) if size.rehearsed else (512, 128_256)
    logits_nV = normal(size, rows, vocab, dtype=torch.float32)
    slopes_nV = logits_nV.bfloat16()

    def ours(logits_nV: Tensor) -> Tensor:
        return torch.exp(logits_nV.log_softmax(1), out=slopes_nV)

    def formula(logits_nV: Tensor) -> Tensor:
        return logits_nV.log_softmax(1).exp().bfloat16()

    return compared("slopes of the loss", f"{rows:,} x {vocab:,}, fp32 to bf16", size, ours, formula, logits_nV)
