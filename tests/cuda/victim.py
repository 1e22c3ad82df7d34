"""A run that kills itself with SIGKILL in the middle of a step: `python -m tests.cuda.victim FOLDER KIND DEVICE`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from stages.engines import training
from tests.cuda import stages
from tests.unit.train import tiny

FATAL = 16  # the first sample of the fifth step; the last checkpoint is that of the third


class Fatal(tiny.Data):
    """Reading the fifth step's samples is the last thing that the process does."""

    def samples(self, first: int, count: int, tail: int) -> list[Any]:
        if first == FATAL:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().samples(first, count, tail)


def stage(kind: str, device: str) -> Any:
    """In bf16, with a checkpoint after every third step."""
    return stages.on(tiny.make(kind), torch.device(device), "torch-bf16")


if __name__ == "__main__":
    training.PhaseData = Fatal  # type: ignore[misc, assignment]
    stages.train(stage(sys.argv[2], sys.argv[3]), Path(sys.argv[1]))
