"""What torch must be told so that the same run gives the same bits on the same machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from stages.spec.resolved import Execution
from stages.store import fingerprint


@contextmanager
def deterministic(execution: Execution) -> Iterator[None]:
    """Deterministic kernels only, and a fixed number of threads (it decides the order of sums); undone afterwards."""
    before = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    fill = torch.utils.deterministic.fill_uninitialized_memory
    # cuBLAS is deterministic only with a fixed workspace (NVIDIA's cuBLAS documentation, results reproducibility).
    os.environ.setdefault(*fingerprint.CUBLAS)
    torch.set_num_threads(execution.threads)
    # torch.use_deterministic_algorithms does this too, and imports the compiler, a second of every start.
    torch.set_deterministic_debug_mode("error")
    torch.utils.deterministic.fill_uninitialized_memory = False  # it costs time, and no kernel here reads such memory
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.set_deterministic_debug_mode(before[1])
        torch.utils.deterministic.fill_uninitialized_memory = fill


@contextmanager
def denormals_flushed() -> Iterator[None]:
    """Numbers below 1e-38 count as zero: moments of rows that get no gradient decay there, and are slow to compute."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
