"""Who runs a stage: what is in lease.json, and whether that process is still there."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import psutil
from pydantic import Field, TypeAdapter

from stages.cluster import slurm
from stages.printable import printable
from stages.store import here, json_file

NAME = "lease.json"
STALE = 120.0  # seconds after which another host's heartbeat no longer counts


@dataclass(frozen=True)
class Holder:
    """Host, process id and when that process began, the token of the lease; in a cluster its job and the job's nodes;
    which start of the kernel and which PID namespace the process id is of.

    Leases of earlier versions lack some of it.
    """

    host: str
    pid: Annotated[int, Field(gt=0, lt=2**31)]
    started: float | None
    token: Annotated[int, Field(ge=0, lt=2**63)]
    job: str | None = None
    nodes: tuple[str, ...] = ()
    boot: str = ""
    namespace: str = ""

    @property
    def of_this_kernel(self) -> bool:
        """Whether this host's locks tell of it. Another start of a host of this name may be another machine."""
        return self.host == socket.gethostname() and self.boot in ("", here.boot())

    @property
    def is_seen(self) -> bool:
        """Whether its process has the number here that it has there: not in another container of this machine."""
        return self.of_this_kernel and self.namespace in ("", here.pid_namespace())

    @property
    def process(self) -> str:
        """Which process of which host."""
        of = "in another PID namespace (container) of" if self.of_this_kernel and not self.is_seen else "on"
        return f"process {self.pid} {of} host {self.host}"

    def __str__(self) -> str:
        job = f" (Slurm job {self.job} on {', '.join(self.nodes)})" if self.job else ""
        return printable(f"{self.process}{job}")


_HOLDER = TypeAdapter(Holder)


def this_process(token: int) -> Holder:
    """This process as the holder of a token. Raises SlurmError in a job about which Slurm gives no answer."""
    job = slurm.allocation()
    mine = Holder(
        socket.gethostname(), os.getpid(), began(os.getpid()), token, boot=here.boot(), namespace=here.pid_namespace()
    )
    return mine if job is None else replace(mine, job=job.job, nodes=job.nodes)


def encode(holder: Holder) -> bytes:
    """As it is in the file."""
    return json_file.encode(asdict(holder), indent=None)


def read(folder: Path) -> Holder | None:
    """Who the lease file in `folder` names; None if there is none that a run wrote to its end. Raises OSError."""
    try:
        return json_file.read_as(folder / NAME, _HOLDER)
    except json_file.JsonFileError as error:
        if isinstance(error.__cause__, OSError):
            raise error.__cause__ from None
        return None


def age(folder: Path, now: float) -> float | None:
    """Seconds from the last heartbeat to `now`, a time of the same clock; None without a lease. Raises OSError."""
    try:
        return now - (folder / NAME).stat().st_mtime
    except FileNotFoundError:
        return None


def alive(found: Holder, folder: Path, now: float | None = None) -> bool:
    """Whether a holder still counts: where its process can be seen, whether that is there; in another container of this
    machine, whether it has the lock; elsewhere, the heartbeat.

    `now` is the time by the clock that dates the files in `folder`; by default this host's. Raises OSError.
    """
    if found.is_seen:
        return began(found.pid) == found.started
    if found.of_this_kernel:
        return is_locked(folder / lock_name())
    beaten = age(folder, time.time() if now is None else now)
    return beaten is not None and abs(beaten) < STALE


def lock_name() -> str:
    """The file on which the runs of this host lock a folder."""
    return f"lease.{socket.gethostname()}.lock"


def suspended(found: Holder) -> str:
    """What is to be said of a holder that a signal has stopped, as Ctrl-Z does; nothing of any other."""
    with suppress(psutil.Error):
        if found.is_seen and psutil.Process(found.pid).status() == psutil.STATUS_STOPPED:
            return f", suspended: `kill -CONT {found.pid}` lets it go on"
    return ""


def is_locked(path: Path) -> bool:
    """Whether a process of this machine has the lock on a file, in whichever container. Raises OSError.

    The lock is taken for a moment and shared, so that several processes may ask at once.
    """
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def began(pid: int) -> float | None:
    """When a process of this host began, in seconds since the host did, which no setting of the clock changes.

    So a reused pid is not taken for the holder. None for a process that is gone, and for a zombie.
    """
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return round(process.create_time() - psutil.boot_time(), 2)
    except psutil.Error:
        return None
