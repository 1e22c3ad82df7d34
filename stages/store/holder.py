"""Who runs a stage: what stands in lease.json, and whether that process is still there."""

from __future__ import annotations

import json
import os
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from stages.cluster import slurm

NAME = "lease.json"
STALE = 120.0  # seconds after which another host's heartbeat no longer counts


@dataclass(frozen=True)
class Holder:
    """Host, process id and when that process began, the token of the lease; in a cluster its job and the job's nodes.

    Leases written before there were clusters have no job and no nodes.
    """

    host: str
    pid: int
    started: float | None
    token: int
    job: str | None = None
    nodes: tuple[str, ...] = ()

    def __str__(self) -> str:
        job = f" (Slurm job {self.job} on {', '.join(self.nodes)})" if self.job else ""
        return f"process {self.pid} on host {self.host}{job}"


def this_process(token: int) -> Holder:
    """This process as the holder of a token. Raises SlurmError in a job that Slurm cannot be asked about."""
    job = slurm.allocation()
    here = socket.gethostname(), os.getpid(), began(os.getpid()), token
    return Holder(*here) if job is None else Holder(*here, job.job, job.nodes)


def encode(holder: Holder) -> bytes:
    """As it stands in the file."""
    return (json.dumps(asdict(holder), sort_keys=True) + "\n").encode()


def read(folder: Path) -> Holder | None:
    """Who the lease file in `folder` names; None if there is none, or one cut off by a crash. Raises OSError."""
    try:
        raw = json.loads((folder / NAME).read_bytes())
        whose = str(raw["host"]), int(raw["pid"]), float(raw["started"]), int(raw["token"])
        return Holder(*whose, raw.get("job"), tuple(raw.get("nodes", ())))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
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
