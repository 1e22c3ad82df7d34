"""The end of a job's time, foreseen from within the job.

A limit may be raised or lowered while the job runs (`scontrol update TimeLimit=`), so the controller is queried again
and again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from stages.cluster import slurm

LOOK = 60.0  # seconds between two queries, at most; also of a job without a limit, or while the controller is away


@contextmanager
def watching(number: str, marks: Sequence[tuple[float, Callable[[], None]]]) -> Iterator[None]:
    """Within the block, call each function, in a thread, when a job has only its number of seconds left.

    The marks come in the order of time, the most seconds first. Of a block that has not twice the first mark's seconds
    from its beginning to the limit of now, half of that time is left when the mark is reached, and of later marks in
    proportion.
    """
    over, acting, began = threading.Event(), threading.Lock(), time.monotonic()

    def mark(seconds: float, left: float) -> float:
        return seconds * min(1.0, (time.monotonic() - began + left) / 2 / marks[0][0])

    def look() -> None:
        for seconds, act in marks:
            _wait_for(number, partial(mark, seconds), over)
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


def _wait_for(number: str, mark: Callable[[float], float], over: threading.Event) -> None:
    """Return when a job has only `mark` of the seconds left that it has, or `over`."""
    while not over.is_set():
        left = _time_left(number)
        ahead = LOOK if left is None else left - mark(left)
        if ahead <= 0:
            return
        over.wait(min(max(ahead, 1.0), LOOK))


def _time_left(number: str) -> float | None:
    """Seconds; None without a limit, when the job is over, or while the controller gives no answer."""
    try:
        found = slurm.job(number)
    except slurm.SlurmError:
        return None
    return None if found is None else found.time_left
