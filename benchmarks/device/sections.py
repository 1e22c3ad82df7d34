"""The sections of `make device`, in the order in which they are run: what is most worth knowing first.

A section is a module of this folder with `run(size, rows)`. It measures at `size`, adds a row as soon as it knows one,
and wraps each figure in `rows.measure`, so that one that fails does not take the others with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Section:
    """A module of benchmarks.device, its title in the record, and the seconds after which it is ended.

    Timed sections have the GPU to themselves; the others run side by side, before them.
    """

    module: str
    title: str
    seconds: int
    timed: bool = True


SECTIONS = (
    Section("cuda_tests", "Tests of tests/cuda", 160, timed=False),
    Section("pipelines", "Whole pipelines, a few steps of every stage", 130, timed=False),
    Section("exact_attention", "Attention with the same bits in every run: as it is, and candidates", 120),
    Section("checkpoints", "Checkpoints", 25),
    Section("kernels", "Operations: Apex, torch, plain", 20),
    Section("training", "Training steps beside Hugging Face's Trainer, and the plan", 110),
    Section("loss", "The loss of a long row over a large vocabulary", 25),
)


def groups(sections: Sequence[Section]) -> list[list[Section]]:
    """What runs at once: all that is not timed; then each timed section alone."""
    together = [section for section in sections if not section.timed]
    return [*([together] if together else []), *([section] for section in sections if section.timed)]


@dataclass(frozen=True)
class Size:
    """What a section works on: the GPU, or a CPU where it is rehearsed on sizes that take a second."""

    device: Literal["cuda", "cpu"]

    @property
    def rehearsed(self) -> bool:
        """Whether this is the rehearsal on a CPU."""
        return self.device == "cpu"
