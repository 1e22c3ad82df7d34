"""Checks of every operation of a traced step: waits, kernels without a fixed order, what FlashAttention can read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode

# Operations that have no deterministic form on a GPU: `torch.use_deterministic_algorithms` documents that they raise.
UNORDERED = {
    "_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d_backward", "_ctc_loss_backward",
    "_embedding_bag_dense_backward", "_scaled_dot_product_cudnn_attention", "adaptive_max_pool2d_backward",
    "avg_pool3d_backward", "bincount", "fractional_max_pool2d_backward", "fractional_max_pool3d_backward",
    "grid_sampler_2d_backward", "grid_sampler_3d_backward", "histc", "kthvalue", "max_pool3d_with_indices_backward",
    "max_unpool2d", "max_unpool3d", "median", "nll_loss2d_forward", "put_", "reflection_pad1d_backward",
    "reflection_pad2d_backward", "reflection_pad3d_backward", "replication_pad1d_backward",
    "replication_pad2d_backward", "replication_pad3d_backward", "scatter_reduce", "upsample_bicubic2d_backward",
    "upsample_bilinear2d_backward", "upsample_linear1d_backward", "upsample_trilinear3d_backward",
}  # fmt: skip
SUMS = {"cumsum", "cumprod", "logcumsumexp"}  # of floating point: those of integers have no rounding
# The host reads a value or a number of values back.
WAITING = {
    "_local_scalar_dense", "_unique2", "bincount", "equal", "is_nonzero", "masked_select", "nonzero",
    "repeat_interleave", "unique_consecutive", "unique_dim",
}  # fmt: skip
# Under deterministic algorithms torch writes these, of more than one dimension, by an index that it makes on the host
# (_scatter_via_index_put in TensorAdvancedIndexing.cpp).
SCATTERED = {"scatter", "scatter_", "scatter_add", "scatter_add_"}
# Where the factors of a product are among its arguments: a GPU's kernels want one type, fake tensors do not ask.
FACTORS = {"mm": 0, "bmm": 0, "dot": 0, "_grouped_mm": 0, "addmm": 1, "addmm_": 1, "baddbmm": 1}
READ = 16  # bytes that FlashAttention reads at once
VARIABLE, FIXED = "torch_attn::_varlen_attn", "aten::_scaled_dot_product_flash_attention"
WIDEST = 256


class FoundError(AssertionError):
    """An operation that would fail, wait, or have no order on a GPU."""


class Watch(TorchDispatchMode):
    """Checks every operation that runs in it, and counts them by name. Raises FoundError."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.name().partition(".")[0]
        namespace, _, short = name.rpartition("::")
        if namespace == "prim":  # of a tensor's device, every time that one is asked for it
            return func(*args, **kwargs)
        tensors = [x for x in _flat((args, kwargs)) if isinstance(x, Tensor)]
        if name.startswith((VARIABLE, FIXED)):
            _read_by_flash(name, *args[: 4 if name.endswith("_backward") else 3])
        if any(where(x) == "cuda" for x in tensors):
            self.counts[name] += 1
            _waits(short, args)
            _multiplied(short, args)
            if torch.are_deterministic_algorithms_enabled():
                unordered(short, args)
                _scattered(short, args)
        if short in ("_to_copy", "copy_"):
            _copied(short, args, kwargs)
        # torch 2.11's fake ones take the type for a factor
        if func in (torch.ops.aten.addmm.dtype_out, torch.ops.aten.mm.dtype_out):
            return kwargs["out"]
        return func(*args, **kwargs)


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, tuple | list):
        for one in value:
            yield from _flat(one)
    else:
        yield value


def _waits(short: str, args: Any) -> None:
    if short in WAITING:
        raise FoundError(f"{short} of a tensor on the GPU: the host waits for it")
    masks = short in ("index", "index_put", "index_put_", "_index_put_impl_") and args[1]
    if masks and any(x is not None and x.dtype in (torch.bool, torch.uint8) for x in masks):
        raise FoundError(f"{short} by a mask on the GPU: the host waits to know how many places it has")


def unordered(short: str, args: Any) -> None:
    """Raise for an operation that deterministic algorithms refuse on a GPU."""
    if short in UNORDERED or (short in SUMS and args[0].is_floating_point()):
        raise FoundError(f"{short} has no deterministic form on a GPU")


def _scattered(short: str, args: Any) -> None:
    if short in SCATTERED and args[0].dim() > 1:
        dimensions = args[0].dim()
        raise FoundError(f"{short} of {dimensions} dimensions, by deterministic algorithms: the host waits for the GPU")


def _multiplied(short: str, args: Any) -> None:
    if short in FACTORS:
        left, right = args[FACTORS[short] : FACTORS[short] + 2]
        if left.dtype != right.dtype:
            raise FoundError(f"{short} of {left.dtype} and {right.dtype}")


def _copied(short: str, args: Any, kwargs: Any) -> None:
    source = args[0] if short == "_to_copy" else args[1]
    named = kwargs.get("device") if short == "_to_copy" else None
    target = where(args[0]) if named is None else torch.device(named).type
    queued = kwargs.get("non_blocking", False) or (short == "copy_" and len(args) > 2 and args[2])
    if where(source) == "cuda" and target == "cpu":
        raise FoundError("a copy to the host: it waits for the GPU")
    if where(source) == "cpu" and target == "cuda" and not (queued and is_pinned(source)):
        raise FoundError(
            f"a copy of {list(source.shape)} to the GPU that is not queued, or not from pinned memory: it waits"
        )


def _read_by_flash(name: str, *heads: Tensor) -> None:
    for x in heads:
        steps = [x.storage_offset(), *x.stride()[:-1]]
        if x.dtype != torch.bfloat16 or x.stride(-1) != 1 or any(step * x.element_size() % READ for step in steps):
            raise FoundError(
                f"{name}: FlashAttention reads {READ} bytes of bf16 at once: {x.dtype}, {list(x.shape)}, strides "
                f"{list(x.stride())}, offset {x.storage_offset()}"
            )
        if x.shape[-1] > WIDEST or (name.startswith(VARIABLE) and x.shape[-1] % 8):
            raise FoundError(f"{name}: heads of {x.shape[-1]}: at most {WIDEST}, and multiples of 8")


def where(x: Tensor) -> str:
    """The type of a tensor's device; a fake one is not asked, which would be an operation too."""
    return x.fake_device.type if isinstance(x, FakeTensor) else x.device.type


def pinned(x: Tensor) -> Tensor:
    """Stands in for `Tensor.pin_memory`, which needs CUDA: a copy that knows that it is one."""
    found = x.clone()
    found.pinned_here = True
    return found


def is_pinned(x: Tensor) -> bool:
    """Whether `pinned` made it."""
    return getattr(x, "pinned_here", False)
