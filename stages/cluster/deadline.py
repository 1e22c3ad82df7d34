"""The end of a job's time, foreseen from within the job.

The controller is queried at the start, and again when the moment seems to have come: limits get extended.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from stages.cluster import slurm

UNLIMITED = 3600.0  # seconds until a job without a limit is queried again: it may be given one
LATER = 60.0  # seconds until a controller that does not answer is queried again


@contextmanager
def watching(number: str, marks: Sequence[tuple[float, Callable[[], None]]]) -> Iterator[None]:
    """Within the block, call each function, in a thread, when a job has only its number of seconds left.

    The marks come in the order of time, the most seconds first. Of a job that has not twice a mark's seconds left at
    the beginning, half of its time is left when the mark is reached, and of later marks in proportion.
    """
    over, acting = threading.Event(), threading.Lock()

    def look() -> None:
        left = _time_left(number, over)
        share = 1.0 if left is None else min(1.0, left / 2 / marks[0][0])
        for seconds, act in marks:
            _wait_for(number, seconds * share, over)
            with acting:
                if over.is_set():
                    return
                act()

    threading.Thread(target=look, name="deadline", daemon=True).start()
    try:
        yield
    finally:
        with acting:  # nothing acts once the block is left
            over.set()


def _wait_for(number: str, mark: float, over: threading.Event) -> None:
    """Return when a job has only `mark` seconds left, or `over`."""
    while not over.is_set():
        left = _time_left(number, over)
        if left is None:
            over.wait(UNLIMITED)
        elif left <= mark:
            return
        else:
            over.wait(max(left - mark, 1.0))


def _time_left(number: str, over: threading.Event) -> float | None:
    """Seconds; None without a limit, or when the job is over."""
    while not over.is_set():
        try:
            found = slurm.job(number)
        except slurm.SlurmError:
            over.wait(LATER)
        else:
            return found.time_left if found is not None else None
    return None
