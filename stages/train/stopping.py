"""Ends that are not the end: a request to stop, and numbers that are not numbers."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from stages.errors import UserError


class StoppedError(UserError):
    """The run was asked to stop, wrote a checkpoint and can be resumed (exit code 75, sysexits' EX_TEMPFAIL)."""

    exit_code = 75


class NonFiniteError(UserError):
    """A loss or gradient is infinite or not a number."""

    def __init__(self, message: str, step: int) -> None:
        super().__init__(message)
        self.step = step


class LostRankError(UserError):
    """Another rank has ended, or cannot be reached any more. Its exit code (sysexits' EX_SOFTWARE) tells the launcher
    that this rank only echoes the end of another, which it then names."""

    exit_code = 70


class StopRequest:
    """Becomes true when SIGTERM arrives, or the lease is lost; the loop looks at it between two steps."""

    def __init__(self) -> None:
        self.asked = False

    def ask(self) -> None:
        """Stop at the next border of two steps."""
        self.asked = True

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.ask()


@contextmanager
def stop_on_sigterm() -> Iterator[StopRequest]:
    """Turn SIGTERM into a request for the duration of the block."""
    request = StopRequest()
    previous = signal.signal(signal.SIGTERM, request._on_signal)
    try:
        yield request
    finally:
        signal.signal(signal.SIGTERM, previous)
