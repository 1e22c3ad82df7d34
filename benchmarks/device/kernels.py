"""Section: every operation of the seam, Apex's kernels beside torch's and beside the plain form, forward and backward.

Where Apex is not installed, torch's stand beside the plain ones alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.device.rows import Row, Rows, against, seconds
from benchmarks.device.sections import Size
from stages.models.ops import Update, apex_forms, backend, functional, multi_tensor
from stages.train import checksum
from stages.train.adamw import foreach_adamw

Call = Callable[[], object]
UPDATE = Update(10, 1e-4, 0.9, 0.95, 1e-8, 0.1, None)


@dataclass(frozen=True)
class Forms:
    """The same operation as it is implemented, by name: "apex", "torch", "plain"."""

    name: str
    setting: str
    calls: dict[str, Call]


def run(size: Size, rows: Rows) -> None:
    device = torch.device(size.device)
    for operation, make in (
        ("rms_norm", rms_norm), ("cross_entropy", cross_entropy), ("adamw", adamw), ("global_norm", many),
        ("checksums", checksums),
    ):  # fmt: skip

        def measured(operation: str = operation, make: Callable[..., list[Forms]] = make) -> list[Row]:
            known = operation in backend.KERNELS and not size.rehearsed  # its kernels are a GPU's
            apex = backend.apex(operation) if known else None
            return [row for forms in make(size, device, apex) for row in compared(forms, device)]

        rows.measure(operation, measured)


def compared(forms: Forms, device: torch.device) -> list[Row]:
    """Milliseconds of the first form beside each of the others."""
    (name, ours), *others = [
        (form, seconds(call, device, 20) * 1e3) for form, call in forms.calls.items()
    ]  # fmt: skip
    return [against(f"{forms.name}: {name}", forms.setting, ours, other, "ms") for other in others]


def rms_norm(size: Size, device: torch.device, apex: ModuleType | None) -> list[Forms]:
    rows, width = (64, 128) if size.rehearsed else (32_768, 4096)
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.randn(rows, width, device=device, dtype=dtype).requires_grad_()
        gain, grad = torch.ones(width, device=device, dtype=dtype).requires_grad_(), torch.randn_like(x)

        def call(form: Callable[[], Tensor], x: Tensor = x, gain: Tensor = gain, grad: Tensor = grad) -> Call:
            return lambda: torch.autograd.grad(form(), (x, gain), grad)

        forms = {
            "torch": call(partial(F.rms_norm, x, gain.shape, gain, 1e-5)),
            "plain": call(partial(functional._RMSNorm.apply, x, gain, 1e-5)),
        }
        if apex is not None:
            forms = {"apex": call(partial(apex_forms.rms_norm, apex, x, gain, 1e-5)), **forms}
        found.append(Forms("RMSNorm", f"{rows:,} x {width:,}, {str(dtype)[6:]}, both passes", forms))
    return found


def cross_entropy(size: Size, device: torch.device, apex: ModuleType | None) -> list[Forms]:
    rows, vocab = (64, 500) if size.rehearsed else (4096, 128_256)
    logits = torch.randn(rows, vocab, device=device).requires_grad_()
    labels, grad = torch.randint(0, vocab, (rows,), device=device), torch.randn(rows, device=device)

    def call(form: Callable[[], Tensor]) -> Call:
        return lambda: torch.autograd.grad(form(), logits, grad)

    forms = {
        "plain": call(lambda: functional._CrossEntropy.apply(logits, labels)),
        "torch": call(lambda: F.cross_entropy(logits, labels, reduction="none")),
    }
    if apex is not None:
        forms = {"apex": call(lambda: apex_forms.cross_entropy(apex, logits, labels)), **forms}
    return [Forms("cross entropy", f"{rows:,} x {vocab:,}, fp32, both passes", forms)]


def tensors(size: Size, device: torch.device) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:
    """Four lists of the shapes of a Llama of 124M: weights, gradients and both moments."""
    width, layers = (16, 2) if size.rehearsed else (768, 12)
    layer = [(width, width)] * 4 + [(width * 8 // 3, width)] * 3 + [(width,)] * 2
    shapes = [(50_304 if not size.rehearsed else 64, width), *layer * layers, (width,)]

    def made() -> list[Tensor]:
        return [torch.rand(shape, device=device) for shape in shapes]

    return made(), made(), made(), made()


def adamw(size: Size, device: torch.device, apex: ModuleType | None) -> list[Forms]:
    lists = tensors(size, device)
    count = sum(tensor.numel() for tensor in lists[0])
    forms: dict[str, Call] = {
        "torch": lambda: multi_tensor.torch_adamw(*lists, UPDATE),
        "plain": lambda: foreach_adamw(*lists, UPDATE),
    }
    if apex is not None:
        forms = {"apex": lambda: apex_forms.adamw(apex, *lists, UPDATE), **forms}
    return [Forms("AdamW", f"{count / 1e6:,.1f} M parameters, fp32", forms)]


def many(size: Size, device: torch.device, apex: ModuleType | None) -> list[Forms]:
    gradients = tensors(size, device)[0]
    count = sum(tensor.numel() for tensor in gradients)
    setting = f"{count / 1e6:,.1f} M numbers, fp32"

    def one_by_one() -> Tensor:
        return torch.stack([gradient.norm() for gradient in gradients]).norm()

    norms: dict[str, Call] = {"torch": lambda: multi_tensor.torch_norm(gradients), "plain": one_by_one}
    scalings: dict[str, Call] = {
        "torch": lambda: torch._foreach_mul_(gradients, 1.0),
        "plain": lambda: [gradient.mul_(1.0) for gradient in gradients],
    }
    if apex is not None:
        norms = {"apex": lambda: apex_forms.global_norm(apex, gradients), **norms}
        scalings = {"apex": lambda: apex_forms.scale(apex, gradients, 1.0), **scalings}
    return [Forms("norm of many tensors", setting, norms), Forms("scaling of many tensors", setting, scalings)]


def checksums(size: Size, device: torch.device, apex: ModuleType | None) -> list[Forms]:
    """Of a state: every tenth step of a stage on a GPU has those of its weights, moments and gradients."""
    state = [tensor for part in tensors(size, device) for tensor in part]
    held = sum(tensor.nbytes for tensor in state)
    forms: dict[str, Call] = {
        "ours": lambda: torch.stack([checksum.on_gpu(tensor) for tensor in state]),
        "a sum of each": lambda: torch.stack([tensor.sum() for tensor in state]),
    }
    return [Forms("checksums of weights, moments, gradients", f"{held / 1e9:,.2f} GB", forms)]
