"""A process that trains a tiny stage and kills itself with SIGKILL while it reads a step's data.

Usage: victim.py OBJECTIVE ROOT SAMPLE: dies when the step that begins with sample SAMPLE or a later one is read.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from stages.engines import run, training
from tests.unit.train import tiny


class Deadly(tiny.Data):
    at: int

    def samples(self, first: int, count: int, tail: int) -> list[Any]:
        self._die_at(first)
        return super().samples(first, count, tail)

    def pairs(self, first: int, count: int, tail: int) -> list[Any]:
        self._die_at(first)
        return super().pairs(first, count, tail)

    def _die_at(self, first: int) -> None:
        if first >= self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def main(objective: str, root: str, at: str) -> None:
    Deadly.at = int(at)
    training.PhaseData = Deadly  # type: ignore[misc, assignment]
    run(tiny.make(objective), tiny.inputs(Path(root)))


if __name__ == "__main__":
    main(*sys.argv[1:])
