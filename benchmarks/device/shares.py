"""Section: what a training step's time goes to, by kind of kernel, as torch's profiler counts it."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import partial
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.device import harness
from benchmarks.device.harness import Work
from benchmarks.device.rows import Row, Rows
from benchmarks.device.sections import Size
from benchmarks.device.training import CPU, GPU

# Kind -> what names of kernels (on a CPU, of operations) have in them; the first that fits. FlashAttention 4's and
# cuBLAS's kernels are both made with CUTLASS.
KINDS = {
    "attention": r"flash|fmha|attention|cudnn_generated",
    "products of matrices": r"gemm|nvjet|cutlass|xmma|cublas|splitkreduce|mm\b",
    "softmax of the loss": r"softmax",
    "SwiGLU and rotary positions": r"silu_mul|rotate",
    "RMSNorm": r"layer_?norm|rms_?norm|gammabeta",
    "gradients, clip and update": r"multi_tensor|foreach",
    "copies and fills": r"memcpy|memset|copy|fill",
    "element by element": r"elementwise|aten::",
    "sums": r"reduce",
}
LONGEST = 12  # kernels that have a row of their own


def run(size: Size, rows: Rows) -> None:
    device = torch.device(size.device)
    for work in CPU[:1] if size.rehearsed else GPU[2:]:
        rows.measure(work.name, partial(measured, work, device))


def measured(work: Work, device: torch.device) -> list[Row]:
    """Of all steps, the first ones too, with deterministic kernels."""
    kinds = {"cuda": ProfilerActivity.CUDA, "cpu": ProfilerActivity.CPU}
    with profile(activities=[kinds[device.type]]) as found:
        ran = harness.train(work, device)
    spent = {event.key: seconds(event, device) / work.steps for event in found.key_averages()}
    return found_rows(work, spent, ran.seconds)


def seconds(event: Any, device: torch.device) -> float:
    """Of a kernel or an operation, without those that it calls."""
    return float(event.self_device_time_total if device.type == "cuda" else event.self_cpu_time_total) / 1e6


def found_rows(work: Work, spent: dict[str, float], step: float) -> list[Row]:
    """Each kind's seconds and share of a step, what is left of it, and the longest kernels."""
    by_kind: dict[str, float] = defaultdict(float)
    for name, took in spent.items():
        by_kind[kind(name)] += took
    head = Row(f"{work.name}, exact", work.setting, f"{step:.3f} s a step, median")
    parts = [
        Row(f"its {what}", f"{took / step:.1%}", f"{took * 1e3:.1f} ms")
        for what, took in sorted(by_kind.items(), key=lambda part: -part[1])
    ]
    idle = step - sum(spent.values())
    longest = sorted(spent, key=lambda name: -spent[name])[:LONGEST]
    return [
        head,
        *parts,
        Row("its time without a kernel", f"{idle / step:.1%}", f"{idle * 1e3:.1f} ms"),
        *(Row("a kernel", f"{name[:120]} ({kind(name)})", f"{spent[name] * 1e3:.1f} ms") for name in longest),
    ]


def kind(name: str) -> str:
    """The kind of a kernel."""
    return next((kind for kind, pattern in KINDS.items() if re.search(pattern, name, re.IGNORECASE)), "others")
