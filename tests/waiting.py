"""Waiting for what other processes do, and no longer than they can still do it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

PATIENCE = 600.0  # seconds for anything that takes a few on a quiet machine: only a hang takes so long


def until(
    what: str,
    holds: Callable[[], object],
    ended: Callable[[], object] = lambda: False,
    said: Callable[[], str] = lambda: "",
    seconds: float = PATIENCE,
    every: float = 0.05,
) -> None:
    """Wait until `holds()`. AssertionError with what was `said` as soon as those who are to do it have `ended`."""
    end = time.monotonic() + seconds
    while not holds():
        late, over = time.monotonic() > end, ended()
        if over and holds():  # what they did last counts
            return
        assert not over, f"no more to be expected: {what}\n{said()}"
        assert not late, f"waited {seconds:g} s for {what}\n{said()}"
        time.sleep(every)


def end_of(process: subprocess.Popen[str], said: Callable[[], str], seconds: float = PATIENCE) -> int:
    """The exit code of a process. AssertionError with what was `said` if it does not end."""
    until("the end of a process", lambda: process.poll() is not None, said=said, seconds=seconds)
    return process.returncode
