"""`stages check` on everything against an earlier commit: `python -m benchmarks.check [COMMIT]`, part of `make record`.

Each way is the command in a process of its own, on the specs of its own commit, both in turn. What is compared is the
processor time that a process used, so that whatever else runs on the machine matters little.
"""

from __future__ import annotations

import io
import resource
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from benchmarks.timing import Comparison, compare, show

BEFORE = "25135fd"  # the last commit before numbers had domains and schedules were read to their ends
REPETITIONS = 15


def run(commit: str = BEFORE) -> list[Comparison]:
    archive = subprocess.run(["git", "archive", commit, "stages", "specs"], capture_output=True, check=True).stdout
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
        return [
            compare(
                "`stages check`, everything", f"one process; plain is commit {commit}",
                lambda: check(Path.cwd()), lambda: check(Path(folder)), REPETITIONS, clock=children,
            )
        ]  # fmt: skip


def check(root: Path) -> None:
    """The command as it is typed, with the code and the specs of `root`."""
    subprocess.run([sys.executable, "-m", "stages", "check"], cwd=root, check=True, stdout=subprocess.DEVNULL)


def children() -> float:
    """Processor seconds of all processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    show(run(*sys.argv[1:]))
