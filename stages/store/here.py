"""To which processes a process number belongs: those of one PID namespace, of one kernel, from one start of it on.

Containers on one machine may have one host name, and each counts its processes from 1.
"""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path

KEPT = 8  # characters of a start of the kernel in a name
BOOT = Path("/proc/sys/kernel/random/boot_id")
NAMESPACE = Path("/proc/self/ns/pid")


@cache
def boot() -> str:
    """Names this start of the kernel; empty where it is unknown, as elsewhere than on Linux."""
    try:
        return BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return ""


@cache
def pid_namespace() -> str:
    """Names the namespace of this process's number within the kernel; empty where it is unknown."""
    try:
        return os.readlink(NAMESPACE).removeprefix("pid:").strip("[]")
    except OSError:
        return ""


def process() -> str:
    """Names this process among those of all machines and containers that may share a disk: host, start of its kernel,
    PID namespace, number. What is only one process's is called by it.
    """
    return f"{socket.gethostname()}.{boot()[:KEPT]}.{pid_namespace()}.{os.getpid()}"
