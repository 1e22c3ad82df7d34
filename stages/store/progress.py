"""How far a running stage is: a small file in its attempt's folder, written by the run, read by `stages status`."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter

from stages.store import attempts, files, json_file
from stages.store.layout import Layout

NAME = "progress.json"


Count = Annotated[int, Field(ge=0, lt=10**18)]


@dataclass(frozen=True)
class Progress:
    """`step` of `steps`, both counted over all phases of the stage; `time` in seconds since 1970, when it was written.

    `seconds_per_step` is the mean over this attempt's steps of the phase, with what came between them.
    """

    phase: str
    step: Count
    steps: Count
    seconds_per_step: Annotated[float, Field(ge=0, lt=1e9)]
    time: Annotated[float, Field(ge=0, lt=1e11)]

    @property
    def seconds_left(self) -> float:
        """Until the last step, from the moment of writing, if all steps take as long."""
        return (self.steps - self.step) * self.seconds_per_step


_PROGRESS = TypeAdapter(Progress)


def write(attempt: Path, phase: str, step: int, steps: int, seconds_per_step: float) -> None:
    """Write the file into an attempt's folder, whole or not at all, and not flushed. A full disk ends no run here."""
    data = json_file.encode(asdict(Progress(phase, step, steps, seconds_per_step, time.time())), indent=None)
    temporary = files.temporary_name(attempt / NAME)
    with suppress(OSError):
        handle = files.disk.create(temporary)
        try:
            files.write_all(handle, memoryview(data))
        finally:
            files.disk.close(handle)
        files.disk.rename(temporary, attempt / NAME)


def latest(layout: Layout, key: str) -> Progress | None:
    """How far the newest attempt under `key` is, or None if it has not made a step."""
    for attempt in attempts.folders(layout, key)[:1]:
        return read(attempt)
    return None


def read(attempt: Path) -> Progress | None:
    """How far an attempt is, or None where its file is not there or cannot be read."""
    with suppress(json_file.JsonFileError, OSError):
        return json_file.read_as(attempt / NAME, _PROGRESS)
    return None
