"""Processes in Linux namespaces: who is in one, which is the child of which, and what they are started with."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil

from tests.waiting import until

REPOSITORY = Path(__file__).resolve().parents[2]
NAMESPACES = ["--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]


def environment() -> dict[str, str]:
    """The project's virtual environment and its sources; nothing that an outer Slurm job may have left."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_", "PYTEST_"))}
    python_path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    return kept | {"PATH": path(), "PYTHONPATH": python_path, "OMP_NUM_THREADS": "1"}


def inside(process: subprocess.Popen[str]) -> psutil.Process:
    """The command itself, of what `Cluster.popen` gave."""
    return child(process, depth=1)


def child(process: subprocess.Popen[str], depth: int) -> psutil.Process:
    """The only child of the only child ... of a process: past the commands that fork once and wait."""
    found = psutil.Process(process.pid)
    for _ in range(depth):
        until("a child of a process", found.children, lambda: process.poll() is not None)
        found = found.children()[0]
    return found


def all_of(init: psutil.Process) -> list[psutil.Process]:
    """Every process in the process namespace whose first one is `init`; nothing when that one is gone."""
    mine = _namespace(init.pid) if init.is_running() else None
    return [process for process in psutil.process_iter() if mine and _namespace(process.pid) == mine]


def _namespace(pid: int) -> str | None:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return None


def status(process: psutil.Process) -> str:
    """As psutil has it; "gone" for a process that has ended."""
    try:
        return str(process.status())
    except psutil.NoSuchProcess:
        return "gone"


def path() -> str:
    """PATH: the virtual environment first, and where Slurm's daemons are last."""
    words = [
        str(Path(sys.executable).parent),
        *os.environ.get("PATH", os.defpath).split(os.pathsep),
        "/usr/sbin",
        "/sbin",
    ]
    return os.pathsep.join(dict.fromkeys(words))
