"""Python's garbage collector (gc), paused or run seldom where it would find nothing: specs are kept until the end.

Objects are still freed when nothing refers to them: only cycles wait.
"""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager

SELDOM = 100_000  # objects made between two searches; that of Python 3.11 and 3.12 is 700


@contextmanager
def uncollected() -> Iterator[None]:
    """Without searches: for commands that end within a second or so, and while specs are read."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def collect_seldom() -> None:
    """Leave all that there is out of later searches, search seldom, and not once more as the process ends."""
    gc.freeze()
    gc.set_threshold(SELDOM)
    atexit.register(gc.freeze)
