"""`stages check` on everything against an earlier commit: `python -m benchmarks.check [COMMIT]`.

Each way is the command in a process of its own, on the specs of its own commit, both in turn. What is compared is the
processor time that a process used, so that whatever else runs on the machine matters little. Both find their bytecode
compiled, by the first call of each, which is not timed: where Python writes none, it compiles at every call.
"""

from __future__ import annotations

import io
import os
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
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryDirectory() as bytecode,
        tarfile.open(fileobj=io.BytesIO(archive)) as files,
    ):
        files.extractall(folder, filter="data")
        return [
            compare(
                "`stages check`, everything", f"one process; plain is commit {commit}",
                lambda: check(Path.cwd(), bytecode), lambda: check(Path(folder), bytecode), REPETITIONS, clock=children,
            )
        ]  # fmt: skip


def check(root: Path, bytecode: str) -> None:
    """The command as it is typed, with the code and the specs of `root`; `bytecode` is where Python keeps its own."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    env["PYTHONPYCACHEPREFIX"] = bytecode
    command = [sys.executable, "-m", "stages", "check"]
    subprocess.run(command, cwd=root, env=env, check=True, stdout=subprocess.DEVNULL)


def children() -> float:
    """Processor seconds of all processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    show(run(*sys.argv[1:]))
