"""A rank that trains tiny stages one after the other: ranked.py ROOT OBJECTIVES [RANK SAMPLE [SIGNAL]].

With RANK and SAMPLE, that rank sends itself SIGTERM, or SIGNAL, when it reads the step of this sample, or a later one,
as an impatient scheduler does; all ranks must then stop at the same border of two steps. STAGES_TEST_DEVICE=cuda trains
on GPUs.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stages.engines import run, training
from stages.spec.resolved import Stage
from stages.train.stopping import StoppedError
from tests import meeting
from tests.unit.train import tiny

EMA = "+ema"  # behind an objective: with an average of the weights


def make(objective: str, ranks: int) -> Stage:
    """The tiny stage with one sequence a micro-batch: four or eight leaves a step, two in the last."""
    stage = tiny.make(objective.removesuffix(EMA))
    if objective.endswith(EMA) and stage.optimizer is not None:
        stage = stage.model_copy(update={"optimizer": stage.optimizer.model_copy(update={"ema": 0.75})})
    phases = tuple(phase.model_copy(update={"micro_batch": 1}) for phase in stage.phases)
    device = os.environ.get("STAGES_TEST_DEVICE", "cpu")
    execution = stage.execution.model_copy(update={"ranks": ranks, "device": device})
    return stage.model_copy(update={"phases": phases, "execution": execution})


class Impatient(tiny.Data):
    """Asks its own rank to stop."""

    rank, sample, signal = -1, 0, signal.SIGTERM

    def samples(self, first: int, count: int, tail: int) -> list[Any]:
        self._ask(first)
        return super().samples(first, count, tail)

    def pairs(self, first: int, count: int, tail: int) -> list[Any]:
        self._ask(first)
        return super().pairs(first, count, tail)

    def _ask(self, first: int) -> None:
        if int(os.environ.get("RANK", 0)) == self.rank and first >= self.sample:
            os.kill(os.getpid(), self.signal)


def train_all(root: Path, objectives: Sequence[str], ranks: int) -> None:
    """Train the stages of these objectives, each in a folder of its own."""
    training.PhaseData = Impatient  # type: ignore[misc, assignment]
    if ranks > 1 and len(objectives) > 1:
        meeting.again_and_again()
    for objective in objectives:
        try:
            run(make(objective, ranks), tiny.inputs(root / objective))
        except StoppedError as error:
            print(error)


def main(root: str, objectives: str, rank: str = "-1", sample: str = "0", number: str = "SIGTERM") -> None:
    Impatient.rank, Impatient.sample, Impatient.signal = int(rank), int(sample), signal.Signals[number]
    train_all(Path(root), objectives.split(","), int(os.environ["WORLD_SIZE"]))


if __name__ == "__main__":
    main(*sys.argv[1:])
