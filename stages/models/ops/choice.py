"""Which implementation attention over documents and the experts' products take: pure functions of what there is."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Attention = Literal["flash_varlen", "sdpa"]
Experts = Literal["grouped_mm", "loop"]
Feature = Literal["flash_varlen", "grouped_mm", "flash4", "triton"]

FLASH4 = ("flash-attn-4", "4.0.0b36")  # a beta, whose functions are called inside its interface: no other version
FLASH4_HEADS = (64, 128)  # widths at which it was measured
WIDEST_HEAD = 256  # of FlashAttention 2's kernels (Dao, arXiv 2307.08691), which also want multiples of 8
FUSED = ("silu_mul", "rotate", "head_loss")
TRITON = "stages.models.ops.triton_forms"  # FUSED, each in one kernel; imported where Triton is
ALIGNED = 8  # elements of 2 bytes: rows begin at multiples of 16 bytes, as TMA and the kernels above want


def attention(device: str, dtype: torch.dtype, head_dim: int, has: frozenset[Feature]) -> Attention:
    """How documents within rows attend: FlashAttention for variable lengths, or a layout for SDPA.

    `device` is a torch device's type, `head_dim` the width of queries and keys; narrower values are widened first.
    """
    fits = head_dim <= WIDEST_HEAD and head_dim % ALIGNED == 0
    return "flash_varlen" if device == "cuda" and dtype == torch.bfloat16 and fits and "flash_varlen" in has else "sdpa"


def flash4(device: str, dtype: torch.dtype, head_dim: int, has: frozenset[Feature]) -> bool:
    """Whether causal attention, within documents too, is FlashAttention 4's."""
    return device == "cuda" and dtype == torch.bfloat16 and head_dim in FLASH4_HEADS and "flash4" in has


def experts(device: str, dtype: torch.dtype, hidden: int, ffn: int, has: frozenset[Feature]) -> Experts:
    """How the routed experts' products are taken: in one grouped product, or expert by expert.

    In fp32, or on a GPU older than an H100, torch's grouped product is itself a loop that waits for the device.
    """
    fits = hidden % ALIGNED == 0 and ffn % ALIGNED == 0
    return "grouped_mm" if device == "cuda" and dtype == torch.bfloat16 and fits and "grouped_mm" in has else "loop"


def fused(x: Tensor) -> ModuleType | None:
    """The module of Triton's kernels for the operations of FUSED on x; None: torch's own, which are exact in fp32."""
    if x.is_cuda and x.dtype == torch.bfloat16 and "triton" in features():
        return importlib.import_module(TRITON)
    return None


def equal_heads(device: str, dtype: torch.dtype, head_dim: int, masked: bool) -> bool:
    """Whether SDPA needs as many key heads as query heads, to keep from making the whole matrix of scores.

    Of its kernels for GPUs FlashAttention alone takes groups of query heads under deterministic algorithms, in half
    precision, up to a width, and without a mask; memory-efficient attention, which takes the rest, does not (torch's
    sdp_utils.cpp).
    """
    return device == "cuda" and (dtype == torch.float32 or masked or head_dim > WIDEST_HEAD)


def multiprocessors(queries: Tensor) -> int:
    """Multiprocessors of the GPU that will differentiate attention to these queries by deterministic kernels; else 0.

    FlashAttention's are for half precision.
    """
    if not (queries.is_cuda and queries.requires_grad and torch.are_deterministic_algorithms_enabled()):
        return 0
    return _properties(queries.device).multi_processor_count if queries.dtype == torch.bfloat16 else 0


@cache
def _properties(device: torch.device) -> Any:
    return torch.cuda.get_device_properties(device)


@cache
def features() -> frozenset[Feature]:
    """What this torch and this machine's GPU have; nothing without a GPU."""
    if not torch.cuda.is_available():
        return frozenset()
    major, _ = torch.cuda.get_device_capability()
    found: set[Feature] = set()
    if major >= 8 and _varlen_is_known():
        found.add("flash_varlen")
    if major in (9, 10) and hasattr(F, "grouped_mm"):  # elsewhere torch falls back on a loop (GroupedBlas.cpp)
        found.add("grouped_mm")
    if major == 9 and _flash4_is_here():
        found.add("flash4")
    if major >= 8 and _triton_works():
        found.add("triton")
    return frozenset(found)


def _flash4_is_here() -> bool:
    name, known = FLASH4
    try:
        return version(name) == known
    except PackageNotFoundError:
        return False


def _triton_works() -> bool:
    """Whether a kernel of Triton compiles here and computes: this needs a C compiler, and a folder to write to."""
    if find_spec("triton") is None:
        return False
    ones = torch.ones(8, dtype=torch.bfloat16, device="cuda")
    try:
        return torch.equal(importlib.import_module(TRITON).silu_mul(ones, ones), F.silu(ones))
    except torch.OutOfMemoryError:  # another job has the GPU's memory: that says nothing of Triton
        raise
    except Exception:  # of a compiler, a driver or a file system: torch's own kernels need none of them
        return False


def _varlen_is_known() -> bool:
    """torch 2.10's has no scale."""
    if find_spec("torch.nn.attention.varlen") is None:
        return False
    from torch.nn.attention.varlen import varlen_attn

    return {"scale", "window_size"} <= inspect.signature(varlen_attn).parameters.keys()


def describe(device: Literal["cpu", "cuda"], dtype: torch.dtype) -> Mapping[str, str]:
    """Operation -> implementation, where widths fit: what a run on this device computes with."""
    has = features() if device == "cuda" else frozenset()
    own = "plain" if device == "cpu" else "torch"
    whose = "triton" if dtype == torch.bfloat16 and "triton" in has else own
    return {
        **dict.fromkeys(FUSED, whose),
        "attention": "flash4"
        if flash4(device, dtype, FLASH4_HEADS[0], has)
        else attention(device, dtype, ALIGNED, has),
        "experts": experts(device, dtype, ALIGNED, ALIGNED, has),
    }
