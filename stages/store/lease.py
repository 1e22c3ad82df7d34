"""A lease on results/.runs/<key>: one run at a time, and an old run that wakes up cannot finish any more.

On one host the lock file decides: the kernel drops the lock with the process, so a killed run never blocks the next.
Over several hosts (where locks of a shared file system cannot be trusted) the heartbeat decides too: lease.json is
touched every few seconds, and counts for `STALE` seconds. A heartbeat from the future does not count either: a clock
was set back since, and a living holder would have touched the file again.

The token grows with every lease. Each number is given out once, by creating a file exclusively; a finish takes the next
number, which is refused when a later run already has it. So a run that was taken for dead and wakes up cannot finish.
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
    files.make_dirs(folder)
    path, lock = folder / "lease.json", FileLock(folder / "lease.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise _held(what, _read(path)) from None
    try:
        before = _read(path)
        if before is not None and before.host != socket.gethostname() and _alive(before, path):
            raise _held(what, before)
        token = _last_token(folder) + 1
        if not _take(folder, token):  # another host was faster
            raise _held(what, _read(path))
        mine = Holder(socket.gethostname(), os.getpid(), _started(os.getpid()), token)
        files.write_atomic(path, (json.dumps(mine.__dict__, sort_keys=True) + "\n").encode())
        try:
            with _heartbeat(path):
                yield mine
        finally:
            if _read(path) == mine:
                files.disk.unlink(path)
    finally:
        lock.release()


def check(folder: Path, mine: Holder) -> None:
    """Raise LeaseError unless the lease on `folder` is still `mine`: to be called before anything is put in place."""
    now = _read(folder / "lease.json")
    if now != mine:
        who = f"pid {now.pid} on {now.host}" if now else "nobody"
        raise LeaseError(f"{folder}: this run lost its lease (held now by {who}); its result is not put in place.")


def claim(folder: Path, mine: Holder) -> None:
    """Take the right to finish, which only the latest holder gets; raises LeaseError for any other."""
    check(folder, mine)
    if _last_token(folder) != mine.token or not _take(folder, mine.token + 1):
        raise LeaseError(f"{folder}: a later run has taken over from this one; its result is not put in place.")


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
            return abs(time.time() - path.stat().st_mtime) < STALE
        except FileNotFoundError:
            return False
    return _started(found.pid) == found.started


def _started(pid: int) -> float | None:
    """When a process of this host began, in seconds since the host did, which no setting of the clock changes.

    So a reused pid is not taken for the holder.
    """
    try:
        return round(psutil.Process(pid).create_time() - psutil.boot_time(), 2)
    except psutil.Error:
        return None


def _last_token(folder: Path) -> int:
    """The highest token given out on this folder; releases do not remove them."""
    return max((int(path.name[6:]) for path in folder.glob("token-[0-9]*")), default=0)


def _take(folder: Path, token: int) -> bool:
    """Take a token; False if another has it already."""
    path = folder / f"token-{token:06d}"
    with files.failing(path):
        try:
            files.disk.close(files.disk.create(path, exclusive=True))
        except FileExistsError:
            return False
        files.fsync_dir(folder)
    return True


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
