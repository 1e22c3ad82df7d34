"""A lease on results/.runs/<key>: one run at a time, and an old run that wakes up cannot finish any more.

On one host the lock file decides: the kernel drops the lock with the process, so a killed run never blocks the next.
Over several hosts (where locks of a shared file system cannot be trusted) the heartbeat decides too: lease.json is
touched every few seconds, and counts for `STALE` seconds. The token grows with every lease; a finish compares it.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from stages.errors import UserError
from stages.store import files

BEAT = 10.0  # seconds between heartbeats
STALE = 120.0  # seconds after which another host's heartbeat no longer counts


class LeaseError(UserError):
    """The stage is being run by another process, or the lease was lost to one."""


@dataclass(frozen=True)
class Holder:
    """Who runs a stage: host, process id and when that process began, and the token of the lease."""

    host: str
    pid: int
    started: float | None
    token: int


def holder(folder: Path) -> Holder | None:
    """Who holds `folder` at this moment, or None. Reads only."""
    path = folder / "lease.json"
    found = _read(path)
    if found is None or not _alive(found, path):
        return None
    return found


@contextmanager
def hold(folder: Path, what: str) -> Iterator[Holder]:
    """Hold `folder` for the time of a run of `what`; raises LeaseError naming host and pid when it is held."""
    folder.mkdir(parents=True, exist_ok=True)
    path, lock = folder / "lease.json", FileLock(folder / "lease.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise _held(what, _read(path)) from None
    try:
        before = _read(path)
        if before is not None and before.host != socket.gethostname() and _alive(before, path):
            raise _held(what, before)
        mine = Holder(socket.gethostname(), os.getpid(), _started(os.getpid()), _next_token(folder))
        files.write_atomic(path, (json.dumps(mine.__dict__, sort_keys=True) + "\n").encode())
        try:
            with _heartbeat(path):
                yield mine
        finally:
            if _read(path) == mine:
                path.unlink(missing_ok=True)
    finally:
        lock.release()


def check(folder: Path, mine: Holder) -> None:
    """Raise LeaseError unless the lease on `folder` is still `mine`: to be called before anything is put in place."""
    now = _read(folder / "lease.json")
    if now != mine:
        who = f"pid {now.pid} on {now.host}" if now else "nobody"
        raise LeaseError(f"{folder}: this run lost its lease (held now by {who}); its result is not put in place.")


def _held(what: str, by: Holder | None) -> LeaseError:
    who = f"process {by.pid} on host {by.host}" if by else "another process"
    return LeaseError(f"{what} is already being run by {who}. Wait for it, or end that process, and try again.")


def _read(path: Path) -> Holder | None:
    try:
        raw = json.loads(path.read_bytes())
        return Holder(str(raw["host"]), int(raw["pid"]), float(raw["started"]), int(raw["token"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # no lease, or one cut off by a crash: the lock still guards


def _alive(found: Holder, path: Path) -> bool:
    if found.host != socket.gethostname():
        try:
            return time.time() - path.stat().st_mtime < STALE
        except FileNotFoundError:
            return False
    return _started(found.pid) == found.started


def _started(pid: int) -> float | None:
    """When a process of this host began (seconds since the epoch), so that a reused pid is not taken for the holder."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return None


def _next_token(folder: Path) -> int:
    """One more than the last token given out on this folder; kept in a file that releases do not remove."""
    path = folder / "token"
    try:
        last = int(path.read_text())
    except (OSError, ValueError):
        last = 0
    files.write_atomic(path, f"{last + 1}\n".encode())
    return last + 1


@contextmanager
def _heartbeat(path: Path) -> Iterator[None]:
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(BEAT):
            try:
                os.utime(path)
            except OSError:
                return  # the lease is gone; the finish will say so

    thread = threading.Thread(target=beat, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
