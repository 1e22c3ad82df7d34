"""Who runs a stage: what is in lease.json, and whether that process is still there."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import psutil
from pydantic import Field, TypeAdapter

from stages.cluster import slurm
from stages.printable import printable
from stages.store import json_file

NAME = "lease.json"
STALE = 120.0  # seconds after which another host's heartbeat no longer counts


@dataclass(frozen=True)
class Holder:
    """Host, process id and when that process began, the token of the lease; in a cluster its job and the job's nodes.

    Leases written before there were clusters have no job and no nodes.
    """

    host: str
    pid: Annotated[int, Field(gt=0, lt=2**31)]
    started: float | None
    token: Annotated[int, Field(ge=0, lt=2**63)]
    job: str | None = None
    nodes: tuple[str, ...] = ()

    def __str__(self) -> str:
        job = f" (Slurm job {self.job} on {', '.join(self.nodes)})" if self.job else ""
        return printable(f"process {self.pid} on host {self.host}{job}")


_HOLDER = TypeAdapter(Holder)


def this_process(token: int) -> Holder:
    """This process as the holder of a token. Raises SlurmError in a job about which Slurm gives no answer."""
    job = slurm.allocation()
    here = socket.gethostname(), os.getpid(), began(os.getpid()), token
    return Holder(*here) if job is None else Holder(*here, job.job, job.nodes)


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
    """Whether a holder still counts: on this host, whether the process is there; on another, the heartbeat.

    `now` is the time by the clock that dates the files in `folder`; by default this host's. Raises OSError.
    """
    if found.host == socket.gethostname():
        return began(found.pid) == found.started
    beaten = age(folder, time.time() if now is None else now)
    return beaten is not None and abs(beaten) < STALE


def began(pid: int) -> float | None:
    """When a process of this host began, in seconds since the host did, which no setting of the clock changes.

    So a reused pid is not taken for the holder. None for a process that is gone, or dead and not yet buried.
    """
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return round(process.create_time() - psutil.boot_time(), 2)
    except psutil.Error:
        return None
