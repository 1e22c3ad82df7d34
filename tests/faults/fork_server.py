"""Victims are forked from a process that has imported everything and run nothing: torch's import takes seconds."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from dataclasses import dataclass
from unittest import mock

from tests.faults import victim
from tests.faults.victim import PLACES, Job

LIMIT = 600.0  # seconds for a run that takes half a second on a quiet machine


@dataclass(frozen=True)
class Ran:
    """One process: how it ended, and its trail."""

    code: int
    seconds: float
    trail: tuple[str, ...]

    @property
    def killed(self) -> bool:
        return self.code == -signal.SIGKILL

    @property
    def place(self) -> str:
        return next((line.split()[1] for line in reversed(self.trail) if line.startswith("at ")), PLACES[0])

    @property
    def began_at(self) -> int | None:
        """The step it went on from; None if it did not come to train."""
        resumed = next((int(line.split()[1]) for line in self.trail if line.startswith("resumed ")), None)
        return 0 if resumed is None and "at step" in self.trail else resumed

    @property
    def reached(self) -> int:
        """The last step that it finished."""
        return max((int(line.split()[1]) for line in self.trail if line.startswith("step ")), default=0)

    @property
    def changes(self) -> dict[str, int]:
        """Changes of the disk by place, of a run that came to its end."""
        counts = dict(word.split("=") for word in self.trail[-1].split()[1:])
        return {place: int(count) for place, count in counts.items()}


class ForkServer:
    """Python's fork server, which has the imports made."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["__main__", victim.__name__])
        first = self._context.Process(target=os.getpid)  # the imports are made now, not within the time of a run
        with mock.patch.dict(os.environ, OMP_NUM_THREADS="1"):  # what is forked must have one thread
            first.start()
        first.join()

    def run(self, job: Job, after: float = LIMIT) -> Ran:
        """Run a job in a process of its own, and kill it after so many seconds if it has not ended by then."""
        process = self._context.Process(target=victim.main, args=(job,))
        (job.root / "trail").unlink(missing_ok=True)
        began = time.monotonic()
        process.start()
        process.join(after)
        process.kill()
        process.join()
        trail = job.root / "trail"
        lines = tuple(trail.read_text().splitlines()) if trail.exists() else ()
        code, seconds = process.exitcode, time.monotonic() - began
        process.close()
        if code is None:
            raise AssertionError("a process that was waited for has no exit code")
        return Ran(code, seconds, lines)
