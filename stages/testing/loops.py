"""Runs of a training loop that is not this project's: one function, called as often as the loop is to be stopped.

`train(until, folder, watch)` trains up to optimizer step `until`: from the beginning, or from the checkpoint in
`folder` where there is one. It calls `watch` once per step, and leaves a checkpoint in `folder`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stages.testing import curves
from stages.testing.golden import GoldenError
from stages.testing.step_tensors import Inside
from stages.testing.watch import GENERATOR, Watch

Train = Callable[[int, Path, Watch], None]


@dataclass(frozen=True)
class Run:
    """What a loop showed, the process-wide generators that it drew from, and the tensors of its steps if requested."""

    rows: list[dict[str, Any]]
    end: dict[str, str]
    drawn: frozenset[str]
    tensors: Inside

    def content(self, drawn: Collection[str] | None = None) -> dict[str, Any]:
        """As it is compared: of the generators, those that are `drawn` from, by default in this run."""
        kept = self.drawn if drawn is None else drawn
        rows = [
            {name: one for name, one in row.items() if name in kept or not name.startswith(GENERATOR)}
            for row in self.rows
        ]
        return {"steps": rows, "end": self.end}


def run(train: Train, steps: int, folder: Path, cuts: Sequence[int] = (), named: bool = False) -> Run:
    """Train for so many steps, stopped after each step of `cuts` and called again. `named`: digest each tensor too.

    The process-wide generators are seeded before every call, differently where a run goes on: what a checkpoint does
    not bring back is lost, as in a new process. They are afterwards what they were.
    """
    rows: list[dict[str, Any]] = []
    drawn, end, start = set[str](), dict[str, str](), 0
    tensors: dict[str, dict[str, dict[str, str]]] = {}
    folder.mkdir(parents=True)
    for until in (*cuts, steps):
        watch = Watch(start, named)
        with _seeded(start):
            train(until, folder, watch)
        _counted(watch, start, until)
        rows += watch.rows
        drawn |= watch.drawn
        tensors |= watch.tensors
        end, start = watch.end(), until
    return Run(rows, end, frozenset(drawn), tensors)


def _counted(watch: Watch, start: int, until: int) -> None:
    """Raises GoldenError where a loop did not do the steps that were requested."""
    done, steps = len(watch.rows), until - start
    if done == steps:
        return
    if start and done == until:
        raise GoldenError(
            f"stopped after step {start} and called again, train computed all of the steps 1 to {until}: it did not go "
            "on from the checkpoint in its folder."
        )
    raise GoldenError(
        f"train(until={until}) {f'after step {start} ' if start else ''}called watch {done} times, not {steps}: it has "
        "to stop after that optimizer step, and to call watch once in each."
    )


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Within the block the process-wide generators begin at a seed; afterwards they are as they were."""
    numbers, arrays, tensors = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(numbers)
        np.random.set_state(arrays)
        torch.set_rng_state(tensors)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


def repeatable(train: Train, steps: int, folder: Path, first: Run) -> Run:
    """A second uninterrupted run, with its tensors. Raises GoldenError where it is not the first."""
    second = run(train, steps, folder, named=True)
    difference = curves.change(first.content(), second.content(first.drawn))
    if difference is not None:
        raise GoldenError(f"the loop is not deterministic: run twice without a stop, {difference.text}")
    return second
