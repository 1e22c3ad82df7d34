"""A training step of the harness against one of Hugging Face's Trainer: same shape of model, rows, AdamW, one thread.

Both are timed step by step: setting up and saving are left out of both. The Trainer takes transformers' own Llama.
"""

from __future__ import annotations

import torch

from benchmarks.device import harness, hf
from benchmarks.device.harness import Work
from benchmarks.step import SMALL, TINY
from benchmarks.timing import Comparison, show
from stages.contract.parameters import parameters

REPETITIONS = 5
WORK = (Work("tiny", TINY, 256, 2, 4, False, 12, bf16=False), Work("small", SMALL, 256, 2, 4, False, 6, bf16=False))


def run() -> list[Comparison]:
    """One comparison for each size; each pair is a whole run of each, and the median of its steps."""
    torch.set_num_threads(1)
    return [one(work) for work in WORK]


def one(work: Work) -> Comparison:
    """Ours and the Trainer in turn; which comes first alternates."""
    cpu = torch.device("cpu")
    ways = (lambda: harness.train(work, cpu).seconds, lambda: hf.train(work, cpu).seconds)
    seconds: tuple[list[float], list[float]] = ([], [])
    for number in range(REPETITIONS):
        for which in (0, 1) if number % 2 == 0 else (1, 0):
            seconds[which].append(ways[which]())
    size = f"{parameters(work.model).total / 1e6:.1f}M parameters, {work.setting}, one thread"
    return Comparison("training step, Hugging Face's Trainer", size, tuple(seconds[0]), tuple(seconds[1]))


if __name__ == "__main__":
    show(run())
