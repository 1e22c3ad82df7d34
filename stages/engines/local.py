"""The ranks of a stage as processes of this machine: started together, printing under their names, every exit noticed.

Their environment is the one that `torchrun` gives (RANK, WORLD_SIZE, MASTER_ADDR, ...): a rank need not know who
started it.
"""

from __future__ import annotations

import io
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

from stages.printable import printable
from stages.train.stopping import PortTakenError, on_request

LAUNCHED = "STAGES_LAUNCHED"  # environment variable: the standard input is open for as long as the launcher lives
BLINK = 1.0  # seconds until the loop is entered again: a signal that another thread got is handled then
ORPHANED = 71  # sysexits' EX_OSERR: a rank that lost its launcher; no process is left to read it
GRACE = 30.0  # seconds that ranks have for leaving by themselves after one has failed; then they are killed


@dataclass(frozen=True)
class Exit:
    """How a rank ended, on which node ("" where there is only one), and the last line it printed."""

    rank: int
    node: str
    code: int
    words: str


def inside() -> bool:
    """Whether this process is a rank that a launcher started."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def end_with_launcher() -> None:
    """In a rank: end this process at once when its launcher is gone, also if that was killed.
    A terminal's Ctrl-C is the launcher's, which passes it on as SIGTERM.

    The launcher has the other end of the rank's standard input and writes nothing: the end of that file is its end.
    Linux's PR_SET_PDEATHSIG would do the same on Linux alone, and follow the thread that started the rank instead.
    """
    if os.environ.pop(LAUNCHED, None) is None:
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.read(0, 1):
            pass
        os._exit(ORPHANED)  # not SIGTERM: a checkpoint would be written while the next run is on, and be of no use

    threading.Thread(target=watch, name="launcher", daemon=True).start()


def run(
    command: Sequence[str],
    ranks: range,
    environment: Mapping[str, str],
    node: str = "",
    tell: Callable[[Exit], None] = lambda end: None,
    exits: queue.Queue[Exit | None] | None = None,
) -> tuple[list[Exit], bool]:
    """Run `command` once for each of `ranks` and wait for all. What asks for a stop is passed on to each as SIGTERM.

    `tell` is called with every exit at once. A None put into `exits` ends what still runs. Returns the exits in the
    order in which they were noticed, without those of ranks that had to be killed because another had failed, and
    whether a stop was requested.
    """
    processes: list[subprocess.Popen[str]] = []
    listeners: list[threading.Thread] = []
    exits = queue.Queue() if exits is None else exits
    with passing_on(lambda: _terminate(processes)) as stops:
        try:
            for place, rank in enumerate(ranks):
                own = {"RANK": str(rank), "LOCAL_RANK": str(place), "LOCAL_WORLD_SIZE": str(len(ranks))}
                processes.append(_spawn(command, {**environment, **own}))
                if stops:  # while it was being started
                    _terminate(processes[-1:])
                listener = threading.Thread(target=_listen, args=(rank, node, processes[-1], exits), daemon=True)
                listeners.append(listener)
                listener.start()
            ended = wait(exits, len(ranks), tell)
        finally:
            for process in processes:
                if process.poll() is None:
                    process.kill()
            for listener in listeners:
                listener.join()
    return ended, bool(stops)


def wait(
    exits: queue.Queue[Exit | None],
    count: int,
    tell: Callable[[Exit], None] = lambda end: None,
    limit: float | None = None,
) -> list[Exit]:
    """Exits as they come, until there are `count` or a None, or none for GRACE after one that failed.

    One that found its port taken is the last: the other ranks wait for a meeting that there will not be.
    With a `limit` in seconds, also until there was none for so long.
    """
    ended: list[Exit] = []
    last = time.monotonic()
    while len(ended) < count:
        try:
            end = exits.get(timeout=BLINK)
        except queue.Empty:
            patience = GRACE if limit is None and any(end.code for end in ended) else limit
            if patience is not None and time.monotonic() - last > patience:
                break
            continue
        if end is None:
            break
        tell(end)
        ended.append(end)
        last = time.monotonic()
        if end.code == PortTakenError.exit_code:
            break
    return ended


@contextmanager
def passing_on(stop: Callable[[], None]) -> Iterator[list[bool]]:
    """Call `stop` when a stop is requested within the block (`on_request`); the list fills then."""
    stops: list[bool] = []

    def forward() -> None:
        stops.append(True)
        stop()

    with on_request(forward):
        yield stops


@contextmanager
def free_port() -> Iterator[int]:
    """A port of this machine for the first rank to listen on, which takes a while to come to it.

    Within the block the kernel gives it to no process that wants any free port. One that wants this very number may get
    it before the first rank does (PortTakenError). Only Linux lets a second socket listen on a port that is bound like
    this; elsewhere it is free at the beginning.
    """
    with socket.socket() as place:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.bind(("", 0))
        number = int(place.getsockname()[1])
        if sys.platform != "linux":
            place.close()
        yield number


def _terminate(processes: Sequence[subprocess.Popen[str]]) -> None:
    for process in processes:
        process.terminate()


def _spawn(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[str]:
    everything = {**os.environ, **environment, LAUNCHED: "1", "PYTHONUNBUFFERED": "1"}
    pipe, err = subprocess.PIPE, subprocess.STDOUT
    return subprocess.Popen(command, env=everything, stdin=pipe, stdout=pipe, stderr=err, text=True, errors="replace")


def say(line: str, stream: TextIO) -> None:
    """Write a line, printable, with its end in one piece: `print` writes the end apart, and other threads between."""
    stream.write(printable(line.removesuffix("\n")) + "\n")
    stream.flush()


def _listen(rank: int, node: str, process: subprocess.Popen[str], exits: queue.Queue[Exit | None]) -> None:
    name, words = f"rank {rank} on {node}" if node else f"rank {rank}", ""
    with process.stdout or io.StringIO() as lines:
        for line in lines:
            say(f"[{name}] {line}", sys.stderr)
            words = line.strip() or words
    exits.put(Exit(rank, node, process.wait(), words))
    if process.stdin is not None:
        process.stdin.close()
