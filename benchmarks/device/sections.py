"""The sections of `make device`, in the order in which they are run: what is most worth knowing first.

A section is a module of this folder with `run(size, rows)`, or a part of one with `run(size, rows, part)`. It measures
at `size`, adds a row as soon as it knows one, and wraps each figure in `rows.measure`, so that one that fails does not
take the others with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Section:
    """A module of benchmarks.device, its title in the record, and the seconds after which it is ended.

    Timed sections have the GPU to themselves; the others run side by side, before them. A part that ends by an error
    after it added rows is begun again, for what it has no rows of (an error may leave CUDA unusable in its process).
    """

    module: str
    title: str
    seconds: int
    timed: bool = True
    part: str = ""
    by_name: bool = False  # run only where it is named: its question has been answered

    @property
    def name(self) -> str:
        """One word: of the command line, and of its files."""
        return f"{self.module}.{self.part}" if self.part else self.module


SECTIONS = (
    Section("cuda_tests", "Tests of tests/cuda", 160, timed=False),
    Section("pipelines", "Whole pipelines, a few steps of every stage", 130, timed=False),
    Section("exact_attention", "Attention with the same bits in every run: by torch", 20, part="torch", by_name=True),
    Section(
        "exact_attention", "Attention with the same bits in every run: FlashAttention 4", 48,
        part="flash4", by_name=True,
    ),
    Section("checkpoints", "Checkpoints", 19),
    Section("kernels", "Operations: Apex, torch, plain", 15),
    Section("training", "Training steps beside Hugging Face's Trainer and torchtitan, and the plan", 176),
    Section("shares", "What a step's time goes to", 40),
    Section("fused", "Between the products: as it is, and by torch.compile", 40),
    Section("loss", "The loss of a long row over a large vocabulary", 27),
)  # fmt: skip


def chosen(sections: Sequence[Section], only: Sequence[str]) -> list[Section]:
    """Those of these names; where there are none, all that need not be named."""
    return [one for one in sections if ({one.module, one.name} & {*only} if only else not one.by_name)]


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
