"""`python -m tests.in_memory`: a new folder in memory, for what tests write; nothing where that is not to be had.

A stage flushes what it writes, some hundred times in a test of a second: on a disk that is a third of the tests' work
and more than half of the time that they take, in memory it is neither. Whoever asks removes the folder.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import psutil

SHARED = Path("/dev/shm")
NEEDED = 12 * 2**30  # bytes: several times what all tests leave there, and what their processes take besides
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of a container


def fit(shared: Path, limits: tuple[str, ...] = LIMITS) -> bool:
    """Whether there is enough memory, and programs in it can be executed: tests make environments."""
    if not os.access(shared, os.W_OK):
        return False
    there = os.statvfs(shared)
    told = (Path(limit).read_text().strip() for limit in limits if Path(limit).is_file())
    free = [there.f_bavail * there.f_frsize, psutil.virtual_memory().available, *map(int, filter(str.isdigit, told))]
    return min(free) >= NEEDED and not there.f_flag & os.ST_NOEXEC


if __name__ == "__main__":
    if sys.platform == "linux" and fit(SHARED):
        print(tempfile.mkdtemp(prefix="stages-tests-", dir=SHARED))
