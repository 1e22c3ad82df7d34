"""Which Snakemake processes are at work in a project, and whose locks are left behind.

Snakemake's lock files name the files that are locked and not the process that locked them, so a killed Snakemake leaves
locks that look like those of a living one. Every main process therefore leaves a record before it locks
anything: an empty file whose name is the host, the boot, the process and when that began. It has the kernel's lock on
it until it ends, which also tells it from a process that is gone where it has no number: in another container. A lock
of Snakemake's is removed only if a process that is gone may have written it and no other may have: a record that is
older than the lock belongs to a process that may have.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import socket
import sys
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from stages.store import files, here, holder

FOLDER, LOCKS, GUARD = "drivers", "locks", "drivers.lock"  # in .snakemake
POLL = 1.0  # seconds between two looks at another Snakemake's lock
_LOCKED: dict[Path, int] = {}  # this process's records, with the open file that has the lock


@dataclass(frozen=True)
class Driver:
    """A main process of Snakemake: `boot` names the host's start, `began` is in seconds since then."""

    host: str
    boot: str
    pid: int
    began: float | None

    @property
    def name(self) -> str:
        """The name of its record."""
        return f"{self.host}+{self.boot}+{self.pid}+{self.began}"

    def gone(self, records: Path) -> bool:
        """Whether it has surely ended. Of a process on another host that cannot be known from here; one in another
        container of this host is not seen, and has the lock on its record.
        """
        if self.host != socket.gethostname():
            return False
        if self.boot != here.boot():
            return True
        return holder.began(self.pid) != self.began and not _is_locked(records / self.name)

    def __str__(self) -> str:
        return f"snakemake, process {self.pid} on host {self.host}"


def this() -> Driver:
    """This process."""
    return Driver(socket.gethostname(), here.boot(), os.getpid(), holder.began(os.getpid()))


def enter(folder: Path, forget: bool = False) -> list[str]:
    """Record this process in Snakemake's folder until it ends, and remove locks whose process is gone.

    With `forget`, all other records are removed: for `snakemake --unlock`, by which a user says that no other runs.
    Returns a line for each process whose locks were removed or are in force. Raises WriteError when the disk refuses.
    """
    records = folder / FOLDER
    with also_in_a_dry_run(), files.failing(records):
        records.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / GUARD):
            others = [driver for driver in read(records) if driver != this()]
            mine = records / this().name
            _lock(mine)
            atexit.register(mine.unlink, missing_ok=True)
            if forget:
                _remove(records, others)
                return []
            return _sort_out(folder, others)


@contextmanager
def also_in_a_dry_run() -> Iterator[None]:
    """Say of a WriteError that Snakemake writes there even if it is to run nothing, and what does not."""
    try:
        yield
    except files.WriteError as error:
        raise files.WriteError(
            f"{error} Snakemake writes there in a dry run too; `stages status` tells what is to be run, and writes "
            "nothing."
        ) from error


def read(records: Path) -> list[Driver]:
    """Every process that has a record; files of other names are no records."""
    found = []
    for path in sorted(records.iterdir()):
        with suppress(ValueError):
            host, boot, pid, began = path.name.rsplit("+", 3)
            if int(pid) > 0:
                found.append(Driver(host, boot, int(pid), float(began)))
    return found


def in_the_way(folder: Path, output: str, inputs: Collection[str]) -> Driver | None:
    """A living process of this host whose locks are on the file to be made, or on one that it is made from."""
    living = [driver for driver in read(folder / FOLDER) if driver != this() and not driver.gone(folder / FOLDER)]
    for lock in _locks(folder) if living else ():
        with suppress(OSError):
            named = set(lock.read_text(encoding="utf-8").splitlines())
            if output in named or (lock.name.endswith(".output.lock") and named & set(inputs)):
                return next((driver for driver in living if _may_own(folder, driver, lock)), None)
    return None


def wait(folder: Path, name: str, output: str, inputs: Collection[str]) -> None:
    """Wait until no other is in the way, and say for whom; `name` is what the file to be made contains."""
    printed = False
    while (other := in_the_way(folder, output, inputs)) is not None:
        if not printed:
            print(f"{name}: waiting for {other}, which has a lock on it", file=sys.stderr, flush=True)
        printed = True
        time.sleep(POLL)


def _sort_out(folder: Path, others: list[Driver]) -> list[str]:
    """Remove the locks that only processes that are gone may own, then the records of those."""
    gone = [driver for driver in others if driver.gone(folder / FOLDER)]
    rest = [driver for driver in others if driver not in gone]
    lines: dict[str, None] = {}
    for lock in _locks(folder):
        owners = [driver for driver in rest if _may_own(folder, driver, lock)]
        dead = [driver for driver in gone if _may_own(folder, driver, lock)]
        if owners:
            lines |= dict.fromkeys(_in_force(driver) for driver in owners)
        elif dead:
            lock.unlink(missing_ok=True)
            lines |= dict.fromkeys(f"{driver}, is gone: its lock was removed" for driver in dead)
    _remove(folder / FOLDER, gone)
    return list(lines)


def _in_force(driver: Driver) -> str:
    if driver.host == socket.gethostname():
        return f"{driver}, is at work here: what it makes is locked until it ends"
    return (
        f"{driver}, may be at work here: what it makes is locked. If it is gone, which cannot be seen from this "
        "host: snakemake --unlock"
    )


def _lock(mine: Path) -> None:
    """Have this process's record, and the lock on it until the process ends: the file is never closed."""
    if mine not in _LOCKED:
        _LOCKED[mine] = os.open(mine, os.O_RDWR | os.O_CREAT, 0o666)
        fcntl.flock(_LOCKED[mine], fcntl.LOCK_EX)
    mine.touch()


def _is_locked(record: Path) -> bool:
    with suppress(FileNotFoundError):  # it has just ended
        return holder.is_locked(record)
    return False


def _locks(folder: Path) -> list[Path]:
    return sorted((folder / LOCKS).glob("*.lock"))


def _may_own(folder: Path, driver: Driver, lock: Path) -> bool:
    """Whether a process left its record before the lock was written: both times are of one file system's clock."""
    try:
        return (folder / FOLDER / driver.name).stat().st_mtime_ns <= lock.stat().st_mtime_ns
    except FileNotFoundError:  # one of the two has just gone
        return False


def _remove(records: Path, drivers: Iterable[Driver]) -> None:
    for driver in drivers:
        (records / driver.name).unlink(missing_ok=True)
