"""A launcher that is killed can tell nobody: its ranks end by themselves, and at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.waiting import PATIENCE, until

RANK = [sys.executable, "-m", "stages.engines.rank"]
LAUNCHERS = {
    "launcher": "import sys; from stages.engines.launch import launch; launch(sys.argv[1:], 2, 'p/s')",
    "agent": "import sys; from stages.engines import node; node.main('2', *sys.argv[1:])",
}


@pytest.mark.parametrize("name", LAUNCHERS)
def test_ranks_end_with_a_launcher_that_is_killed(name: str, tmp_path: Path) -> None:
    """They wait for their job, a pipe that nobody writes into."""
    job = tmp_path / "job"
    os.mkfifo(job)
    command = [sys.executable, "-c", LAUNCHERS[name], *RANK, str(job)]
    launcher = subprocess.Popen(command, env={**os.environ, "SLURM_NODEID": "0"}, stdin=subprocess.DEVNULL)
    writer = -1
    try:
        ranks = _two_children(launcher)
        writer = _opened(job, ranks)
        launcher.send_signal(signal.SIGKILL)
        launcher.wait()
        _, alive = psutil.wait_procs(ranks, timeout=PATIENCE)
        assert not alive
    finally:
        launcher.kill()
        launcher.wait()
        if writer >= 0:
            os.close(writer)


def _two_children(launcher: subprocess.Popen[bytes]) -> list[psutil.Process]:
    process = psutil.Process(launcher.pid)
    until("two ranks", lambda: len(process.children()) == 2, lambda: launcher.poll() is not None)
    return process.children()


def _opened(job: Path, ranks: list[psutil.Process]) -> int:
    """The pipe's other end, which opens when a rank reads its job: it has begun to watch its launcher by then."""
    found: list[int] = []

    def opened() -> bool:
        with suppress(OSError):  # nobody reads it yet
            found.append(os.open(job, os.O_WRONLY | os.O_NONBLOCK))
        return bool(found)

    until("a rank to read its job", opened, lambda: not any(rank.is_running() for rank in ranks))
    return found[0]
