"""Settings of torch under which the same run gives the same bits on the same machine.

`execution: {determinism: exact}`: deterministic kernels only; an operation that has none stops the run. On a GPU also
a fixed workspace of cuBLAS, no choice of kernels by timing (cuDNN's benchmark), and sums of products in fp32 where
operands are bf16. `fast` gives all of that up: sums may be taken in any order, so a rerun agrees up to rounding, as
another environment would. TF32 is off in both: products of fp32 are fp32, as the engine class says.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

from stages.errors import UserError
from stages.spec.resolved import Execution
from stages.store import fingerprint

# Configurations under which cuBLAS promises equal bits (NVIDIA's cuBLAS documentation, results reproducibility).
REPRODUCIBLE = (fingerprint.CUBLAS[1], ":16:8")
# Environment variables: PyTorch, or NVIDIA's libraries, then take TF32 whatever a program says.
TF32 = ("TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "NVIDIA_TF32_OVERRIDE")
FAST = "determinism: fast, so kernels may add in any order: a rerun agrees up to rounding, and the tier is same-order"


@contextmanager
def deterministic(execution: Execution) -> Iterator[None]:
    """Kernels as the execution wants them, and a fixed number of threads (it decides the order of sums on a CPU).

    Undone afterwards. Raises UserError where the environment asks cuBLAS for what is not reproducible.
    """
    before = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    fill = torch.utils.deterministic.fill_uninitialized_memory
    for name in TF32 if execution.device == "cuda" else ():
        if (found := os.environ.get(name, "")) not in ("", "0"):
            raise UserError(f"environment: {name}={found}; allowed on a GPU: 0, or leave it out.")
    if execution.exact:
        _fix_workspace(execution)
    torch.set_num_threads(execution.threads)
    # torch.use_deterministic_algorithms does this too, and imports the compiler, a second of every start.
    torch.set_deterministic_debug_mode("error" if execution.exact else "default")
    torch.utils.deterministic.fill_uninitialized_memory = False  # it costs time, and no kernel here reads such memory
    try:
        with _gpu_kernels(execution.exact):
            yield
    finally:
        torch.set_num_threads(before[0])
        torch.set_deterministic_debug_mode(before[1])
        torch.utils.deterministic.fill_uninitialized_memory = fill


def settings(execution: Execution) -> Mapping[str, object]:
    """What is set, for run.json."""
    found: dict[str, object] = {"determinism": execution.determinism, "threads": execution.threads}
    if execution.device == "cuda":
        found |= {"tf32": False, "bf16_reduced_precision_reduction": not execution.exact}
        found |= {"cudnn_benchmark": not execution.exact, fingerprint.CUBLAS[0]: os.environ.get(fingerprint.CUBLAS[0])}
    return found


def _fix_workspace(execution: Execution) -> None:
    """Before CUDA starts: cuBLAS reads its workspace's configuration once."""
    name, value = fingerprint.CUBLAS
    found = os.environ.setdefault(name, value)
    if execution.device == "cuda" and found not in REPRODUCIBLE:
        raise UserError(
            f"environment: {name}={found}; allowed with `execution: {{determinism: exact}}` on a GPU: "
            f"{' or '.join(REPRODUCIBLE)}. Unset it, or write `determinism: fast`."
        )


@contextmanager
def _gpu_kernels(exact: bool) -> Iterator[None]:
    """Settings that only a GPU's kernels read."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    precision = matmul.fp32_precision, cudnn.conv.fp32_precision
    reduced = matmul.allow_bf16_reduced_precision_reduction, matmul.allow_fp16_reduced_precision_reduction
    benchmark = cudnn.benchmark
    matmul.fp32_precision = cudnn.conv.fp32_precision = "ieee"
    matmul.allow_bf16_reduced_precision_reduction = matmul.allow_fp16_reduced_precision_reduction = not exact
    cudnn.benchmark = not exact
    try:
        yield
    finally:
        matmul.fp32_precision, cudnn.conv.fp32_precision = precision
        matmul.allow_bf16_reduced_precision_reduction, matmul.allow_fp16_reduced_precision_reduction = reduced
        cudnn.benchmark = benchmark


@contextmanager
def denormals_flushed() -> Iterator[None]:
    """Numbers below 1e-38 count as zero: moments of rows that get no gradient decay there, and are slow to compute."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
