"""A launcher that is killed can tell nobody: its ranks end by themselves, and at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

WAIT = 600.0  # seconds; an idle machine takes less than five
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
        ranks = _two_children(launcher.pid)
        writer = _opened(job)
        launcher.send_signal(signal.SIGKILL)
        launcher.wait()
        _, alive = psutil.wait_procs(ranks, timeout=WAIT)
        assert not alive
    finally:
        launcher.kill()
        launcher.wait()
        if writer >= 0:
            os.close(writer)


def _two_children(pid: int) -> list[psutil.Process]:
    end = time.monotonic() + WAIT
    while len(found := psutil.Process(pid).children()) < 2:
        assert time.monotonic() < end, found
        time.sleep(0.05)
    return found


def _opened(job: Path) -> int:
    """The pipe's other end, which opens when a rank reads its job: it has begun to watch its launcher by then."""
    end = time.monotonic() + WAIT
    while True:
        try:
            return os.open(job, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            assert time.monotonic() < end, "no rank reads its job"
            time.sleep(0.05)
