"""What ends a run before its last step: a request to stop, and numbers that are infinite or not a number."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

from stages.errors import UserError

# What asks for a checkpoint and an end: what a scheduler sends when it needs the nodes, what sites send ahead of a time
# limit (`--signal=USR1@120` of Slurm, SIGUSR2 of LSF and OAR, SIGXCPU of a limit of CPU time), a terminal that goes.
ASKING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU, signal.SIGHUP)

AHEAD = 120  # seconds of CPU time that are kept for a checkpoint, or a tenth of a limit that is short


class StoppedError(UserError):
    """The run was asked to stop, wrote a checkpoint and can be resumed (exit code 75, sysexits' EX_TEMPFAIL)."""

    exit_code = 75
    resumable = True


class NonFiniteError(UserError):
    """A loss, a gradient, the weights or an evaluation are infinite or not a number."""

    repeats = True

    def __init__(self, message: str, step: int | None) -> None:
        super().__init__(message)
        self.step = step


class LostRankError(UserError):
    """Another rank has ended, or cannot be reached any more. Its exit code (sysexits' EX_SOFTWARE) tells the launcher
    that this rank only echoes the end of another, which it then names."""

    exit_code = 70


class PortTakenError(UserError):
    """The first rank found another program on the port where ranks were to meet. Its exit code (sysexits' EX_CANTCREAT)
    tells the launcher to start the ranks again, with another port."""

    exit_code = 73


def listened_to() -> list[signal.Signals]:
    """Those of ASKING that are not ignored here, and that nothing but Python handles; SIGTERM in any case."""
    kept = (signal.SIG_IGN, None)
    return [number for number in ASKING if number == signal.SIGTERM or signal.getsignal(number) not in kept]


class StopRequest:
    """Becomes true when a stop is requested, or the lease is lost; the loop looks at it between two steps."""

    def __init__(self) -> None:
        self.requested = False

    def ask(self) -> None:
        """Stop at the next border of two steps."""
        self.requested = True


@contextmanager
def stop_when_asked() -> Iterator[StopRequest]:
    """Turn what `on_request` hears into a request for the duration of the block."""
    request = StopRequest()
    with on_request(request.ask), _ahead_of_cpu_limit():
        yield request


@contextmanager
def _ahead_of_cpu_limit() -> Iterator[None]:
    """Hear SIGXCPU ahead of a limit of CPU time at which the kernel would kill this process: `ulimit -t` sets both."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    ahead = hard - max(1, min(AHEAD, hard // 10))
    if hard == resource.RLIM_INFINITY or soft not in (hard, resource.RLIM_INFINITY):
        yield
        return
    resource.setrlimit(resource.RLIMIT_CPU, (ahead, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


@contextmanager
def ended_when_asked(what: str, unless: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Raise StoppedError when one of ASKING comes within the block, where nothing is trained, `unless` that holds."""

    def heard(number: int, frame: FrameType | None) -> None:
        if not unless():
            raise StoppedError(f"{what}: stopped while nothing was trained; run it again.")

    with _handled(listened_to(), heard):
        yield


@contextmanager
def on_request(ask: Callable[[], None]) -> Iterator[None]:
    """Call `ask` when one of ASKING comes within the block, or Ctrl-C for the first time; a second one ends at once.

    Where a signal means something else already (SIGINT behind `&` in a script, SIGHUP under nohup: both ignored), it
    keeps that meaning.
    """

    def heard(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if "RANK" not in os.environ:  # ranks hear it too, and would say it again
                where = "at a checkpoint after this step, or at once where nothing is trained"
                print(f"stopping {where}; Ctrl-C again stops at once", file=sys.stderr)
        ask()

    numbers = listened_to()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        numbers.append(signal.SIGINT)
    with _handled(numbers, heard):
        yield


@contextmanager
def _handled(numbers: Iterable[signal.Signals], heard: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.signal(number, heard) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ignore_requests() -> None:
    """For what has its end: a request that comes while the process ends must not change the exit code."""
    for number in ASKING:
        signal.signal(number, signal.SIG_IGN)
