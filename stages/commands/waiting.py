"""Waiting for another run of a stage: of an earlier start whose driver was killed, of another job, or of equal work."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from stages.store import holder, lease

POLL = 1.0  # seconds between two reads of another run's lease
SAID = 60.0  # seconds between two lines about it


def waited(ref: str, folder: Path) -> bool:
    """Wait while another run has the stage's lease; whether there was one, so that the stage may be done now."""
    printed = float("-inf")
    while (other := lease.holder(folder)) is not None:
        if time.monotonic() - printed >= SAID:
            printed = time.monotonic()
            beaten = max(0.0, holder.age(folder, time.time()) or 0.0)  # the clock may have been set back
            print(
                f"{ref}: waiting for {other}, whose heartbeat is {beaten:.0f} s old{holder.suspended(other)}",
                file=sys.stderr,
                flush=True,
            )
        time.sleep(POLL)
    return printed > float("-inf")


class Held:
    """Waits a moment at a time for a run that has the lock of a stage, and says so once: one in another container of
    this machine is not found by `waited`.
    """

    def __init__(self, ref: str) -> None:
        self._ref, self._said = ref, False

    def wait(self, error: lease.HeldError) -> None:
        """Whose lock it is, as the error has it; then a moment."""
        if not self._said:
            print(f"{self._ref}: waiting: {error}", file=sys.stderr, flush=True)
        self._said = True
        time.sleep(POLL)
