"""How far a running stage is: a small file in its attempt's folder, written by the run, read by `stages status`."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from stages.store import attempts, files
from stages.store.layout import Layout

NAME = "progress.json"


@dataclass(frozen=True)
class Progress:
    """`step` of `steps`, both counted over all phases of the stage; `time` in seconds since 1970, when it was written.

    `seconds_per_step` is the mean over this attempt's steps of the phase, with what came between them.
    """

    phase: str
    step: int
    steps: int
    seconds_per_step: float
    time: float

    @property
    def seconds_left(self) -> float:
        """Until the last step, from the moment of writing, if all steps take as long."""
        return (self.steps - self.step) * self.seconds_per_step


def write(attempt: Path, phase: str, step: int, steps: int, seconds_per_step: float) -> None:
    """Leave word in an attempt's folder: whole or not at all, and not flushed. A full disk must not end a run here."""
    text = json.dumps(asdict(Progress(phase, step, steps, seconds_per_step, time.time())), sort_keys=True) + "\n"
    temporary = attempt / f".{NAME}.{os.getpid()}.tmp"
    with suppress(OSError):
        handle = files.disk.create(temporary)
        try:
            files.disk.write(handle, memoryview(text.encode()))
        finally:
            files.disk.close(handle)
        files.disk.rename(temporary, attempt / NAME)


def latest(layout: Layout, key: str) -> Progress | None:
    """What the newest attempt under `key` left word of, or None if it has not made a step."""
    for attempt in attempts.folders(layout, key)[:1]:
        return read(attempt)
    return None


def read(attempt: Path) -> Progress | None:
    """What an attempt left word of, or None."""
    try:
        raw = json.loads((attempt / NAME).read_bytes())
        numbers = int(raw["step"]), int(raw["steps"]), float(raw["seconds_per_step"]), float(raw["time"])
        return Progress(str(raw["phase"]), *numbers)
    except (OSError, ValueError, KeyError, TypeError):
        return None
