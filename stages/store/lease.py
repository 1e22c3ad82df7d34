"""A lease on results/.runs/<key>: one run at a time, and an old run that wakes up cannot finish any more.

On one host a lock file decides, over its containers too: the kernel drops the lock with the process, so a killed run
never blocks the next. Each host has a file of its own, since over hosts locks cannot be trusted: a frozen node would
keep one for ever.
Over several hosts the heartbeat decides: lease.json is touched every few seconds, and counts for `STALE` seconds. A
heartbeat from the future does not count either: a clock was set back since, and a living holder would have touched the
file again.

The token grows with every lease. Each number is given out once, by creating a file exclusively; a finish takes the next
number, which is refused when a later run already has it. So a run that was taken for dead and wakes up cannot finish.
It finds out before that: at a heartbeat, or before it writes a checkpoint.

leases.jsonl records every lease: who took it, and who released or lost it, and when.
"""

from __future__ import annotations

import errno
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Annotated

from filelock import FileLock, Timeout
from pydantic import BaseModel, Field, TypeAdapter

from stages.errors import UserError
from stages.store import files, json_file
from stages.store import holder as holders
from stages.store.holder import Holder

BEAT = 10.0  # seconds between heartbeats
LOOKED = 0.1  # seconds after which another container's test of the lock is surely over
LOG = "leases.jsonl"
TOKEN = re.compile(r"token-(\d{6,18})")
LAST = 10**18 - 2  # tokens that a run may take; the next one is the right to finish


class _Event(BaseModel):
    """The one field of a line of the log that is read again."""

    time: Annotated[float, Field(ge=0, lt=1e11)]


_EVENT = TypeAdapter(_Event)


class LeaseError(UserError):
    """The stage is being run by another process, or the lease was lost to one."""


class HeldError(LeaseError):
    """The stage is being run by another process at this moment."""


def holder(folder: Path) -> Holder | None:
    """Who holds `folder` at this moment, or None. Reads only."""
    with suppress(OSError):
        found = holders.read(folder)
        if found is not None and holders.alive(found, folder):
            return found
    return None


@contextmanager
def hold(folder: Path, what: str, on_lost: Callable[[], None] = lambda: None) -> Iterator[Holder]:
    """Hold `folder` for the time of a run of `what`; `on_lost` is called, in a thread, when another run has taken over.

    Raises HeldError naming host and process when it is held, WriteError when the disk refuses.
    """
    with _locked(folder, what) as now:
        mine = _take_over(folder, what, now)
        try:
            with _heartbeat(folder, mine, on_lost):
                yield mine
        except BaseException:
            with suppress(files.WriteError):  # the error that ended the run is shown, not this
                _release(folder, mine)
            raise
        _release(folder, mine)


@contextmanager
def hold_to_remove(folder: Path, what: str) -> Iterator[None]:
    """Hold `folder` while something in it is removed. Raises as `hold`.

    A full disk takes no lease, and what would free it has to go all the same: this host's lock is enough then, since no
    other host can write a lease there either.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(hold(folder, what))
        except files.WriteError as error:
            if not (isinstance(error.__cause__, OSError) and error.__cause__.errno in (errno.ENOSPC, errno.EDQUOT)):
                raise
            _refuse_other(folder, what, stack.enter_context(_locked(folder, what)))
        yield


def check(folder: Path, mine: Holder) -> None:
    """Raise LeaseError unless the lease on `folder` is still `mine`: to be called before anything is put in place."""
    with files.failing(folder / holders.NAME):
        now = holders.read(folder)
    if now is None and not folder.is_dir():
        raise LeaseError(
            f"{folder}: was moved or removed while this run wrote there; it puts nothing in place any more."
        )
    if now != mine:
        who = str(now) if now else "nobody"
        raise LeaseError(f"{folder}: this run lost its lease (held now by {who}); it puts nothing in place any more.")


def claim(folder: Path, mine: Holder) -> None:
    """Take the right to finish, which only the latest holder gets; raises LeaseError for any other."""
    check(folder, mine)
    if _last_token(folder) != mine.token or not _take(folder, mine.token + 1):
        raise LeaseError(f"{folder}: a later run has taken over from this one; its result is not put in place.")


@contextmanager
def _locked(folder: Path, what: str) -> Iterator[float]:
    """Have this host's lock; gives the time by the clock that dates the files there, which may be a server's."""
    path = folder / holders.lock_name()
    lock = FileLock(path, poll_interval=LOOKED / 10)
    with files.failing(path):
        files.make_dirs(folder)
        try:
            lock.acquire(timeout=LOOKED)
        except Timeout:
            raise _held(what, holders.read(folder)) from None
    try:
        with files.failing(path):
            os.utime(path)
            now = path.stat().st_mtime
        yield now
    finally:
        with files.failing(path):
            lock.release()


def _take_over(folder: Path, what: str, now: float) -> Holder:
    """Write the lease; on this machine the lock has decided already that no other process has it."""
    with files.failing(folder / holders.NAME):
        _refuse_other(folder, what, now)
        last = _last_token(folder)
        if last >= LAST:
            raise LeaseError(
                f"{folder}/token-{last:06d}: no run has taken so many leases. Move it away, and try again."
            )
        mine = holders.this_process(last + 1)
        if not _take(folder, mine.token):  # another host was faster
            raise _held(what, holders.read(folder))
        files.write_atomic(folder / holders.NAME, holders.encode(mine))
    with files.failing(folder / LOG):
        _log(folder, "taken", mine)
    return mine


def _refuse_other(folder: Path, what: str, now: float) -> None:
    """Raise HeldError where another machine has the lease. Raises OSError."""
    before = holders.read(folder)
    if before is not None and not before.of_this_kernel and holders.alive(before, folder, now):
        raise _held(what, before)


def _release(folder: Path, mine: Holder) -> None:
    with files.failing(folder / holders.NAME):
        if holders.read(folder) == mine:
            files.disk.unlink(folder / holders.NAME)
            with files.failing(folder / LOG):
                _log(folder, "released", mine)


def _held(what: str, by: Holder | None) -> HeldError:
    who = by if by else "another process"
    return HeldError(f"{what} is already being run by {who}. Wait for it, or end that process, and try again.")


def _log(folder: Path, event: str, whose: Holder) -> None:
    """Add a line. Raises OSError."""
    fields = {"event": event, "token": whose.token, "host": whose.host, "pid": whose.pid, "job": whose.job}
    files.append(folder / LOG, json_file.encode(fields | {"time": round(time.time(), 3)}, indent=None))


def last_time(folder: Path) -> float:
    """When a lease on `folder` was last taken, released or lost, in seconds since 1970; 0 where it is unknown."""
    with suppress(json_file.JsonFileError, OSError):
        lines = json_file.read_bytes(folder / LOG).splitlines()
        return max((json_file.parse_as(line, folder / LOG, _EVENT).time for line in lines), default=0.0)
    return 0.0


def _last_token(folder: Path) -> int:
    """The highest token given out on this folder; releases do not remove them."""
    found = (TOKEN.fullmatch(path.name) for path in folder.glob("token-*"))
    return max((int(name[1]) for name in found if name), default=0)


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
def _heartbeat(folder: Path, mine: Holder, on_lost: Callable[[], None]) -> Iterator[None]:
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(BEAT):
            with suppress(OSError):  # the next beat may do; a lease that is gone raises nothing
                if holders.read(folder) != mine:
                    on_lost()
                    _log(folder, "lost", mine)
                    return
                os.utime(folder / holders.NAME)

    thread = threading.Thread(target=beat, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
