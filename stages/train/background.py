"""One job at a time in a thread, while training goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from types import TracebackType


class Background:
    """Runs jobs in a thread, one at a time; an error of a job is raised at the next call of this object.

    As a context: whatever leaves the block, the job in flight is waited for, and its error raised unless another one
    leaves. Only a second Ctrl-C does not wait: the thread ends with the process.
    """

    def __init__(self) -> None:
        self._flight: Future[None] | None = None

    def start(self, job: Callable[[], None]) -> None:
        """Begin a job once the one before has ended. Raises what that one raised."""
        self.wait()
        flight = Future[None]()

        def run() -> None:
            try:
                job()
                flight.set_result(None)
            except BaseException as error:  # raised again in the thread that waits
                flight.set_exception(error)

        self._flight = flight
        threading.Thread(target=copy_context().run, args=(run,), name="checkpoint", daemon=True).start()

    def check(self) -> None:
        """Raise what a job has raised; does not wait."""
        if self._flight is not None and self._flight.done():
            self.wait()

    def wait(self) -> None:
        """Return when no job is in flight. Raises what it raised."""
        flight = self._flight
        if flight is not None:
            error = flight.exception()
            self._flight = None
            if error is not None:
                raise error

    def settle(self) -> None:
        """Return when no job is in flight; what it raised, `check` raises later."""
        if self._flight is not None:
            self._flight.exception()

    def __enter__(self) -> Background:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.wait()
        elif issubclass(kind, Exception):
            self.settle()
