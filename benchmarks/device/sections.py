"""The sections of `make device`, in the order in which they are run: what is most worth knowing first.

A section is a module of this folder with `run(size, rows)`. It measures at `size`, adds a row as soon as it knows one,
and wraps each figure in `rows.measure`, so that one that fails does not take the others with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Section:
    """A module of benchmarks.device, its title in the record, and the seconds after which it is ended."""

    module: str
    title: str
    seconds: int


SECTIONS = (
    Section("cuda_tests", "Tests of tests/cuda", 150),
    Section("training", "Training steps beside Hugging Face's Trainer, and the plan", 110),
    Section("exact", "Deterministic kernels beside any kernels", 45),
    Section("loss", "The loss of a long row over a large vocabulary", 40),
    Section("pipelines", "Whole pipelines, a few steps of every box", 90),
    Section("kernels", "Operations: Apex, torch, plain", 40),
    Section("checkpoints", "Checkpoints", 30),
)  # fmt: skip


@dataclass(frozen=True)
class Size:
    """What a section works on: the GPU, or a CPU where it is rehearsed on sizes that take a second."""

    device: Literal["cuda", "cpu"]

    @property
    def rehearsed(self) -> bool:
        """Whether this is the rehearsal on a CPU."""
        return self.device == "cpu"
