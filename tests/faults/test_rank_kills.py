"""A stage of two ranks, one of which is killed with SIGKILL, or the process that started them: the bits of one rank."""

from __future__ import annotations

import multiprocessing
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from stages.store.layout import Layout
from tests.faults import cases, victim
from tests.faults.cases import SCALE, Case
from tests.faults.fork_server import LIMIT, ForkServer
from tests.faults.victim import Job
from tests.faults.whole import of_ranks
from tests.unit.data.small import Small, build

SEED = 1
WHO = ("rank 0", "rank 1", "launcher")


def laid(folder: Path, case: Case, small: Small) -> Path:
    cases.lay(case, folder, small, lambda earlier: None)
    return folder


def kill(job: Job, who: str, after: float) -> bool:
    """Kill one of the processes so many seconds after training began; whether the run had not ended by then."""
    process = multiprocessing.get_context("forkserver").Process(target=victim.main, args=(job,))
    before, ranks = rows(job.root), list[psutil.Process]()
    process.start()
    with suppress(psutil.NoSuchProcess):
        launcher = psutil.Process(process.pid)
        while process.is_alive() and (len(ranks) < 2 or rows(job.root) == before):
            ranks = launcher.children()
            time.sleep(0.01)
        time.sleep(after)
        if process.is_alive():
            (launcher if who == "launcher" else ranks[int(who[-1])]).send_signal(signal.SIGKILL)
    process.join(LIMIT)
    assert not psutil.wait_procs(ranks, timeout=LIMIT)[1]  # what lost the others ends by itself
    assert process.exitcode in (0, -signal.SIGKILL if who == "launcher" else 1)
    return process.exitcode != 0


def rows(root: Path) -> int:
    """In how many attempts training has begun."""
    return len(list((root / "results/.runs").glob("*/attempt-*/result/metrics.csv")))


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["next_token", "joint", "coca"])
def test_killed_ranks_and_launchers_change_nothing(name: str, tmp_path: Path) -> None:
    small, server, draw = build(tmp_path / "small"), ForkServer(), random.Random(f"{SEED} {name}")
    one, two = (of_ranks(cases.make(name, small), ranks) for ranks in (1, 2))
    expected = laid(tmp_path / "one", one, small)
    assert server.run(Job(one, expected)).code == 0
    cut = laid(tmp_path / "cut", two, small)
    killed = [kill(Job(two, cut), who, draw.uniform(0, 0.4)) for who in draw.sample(WHO, len(WHO))]
    assert any(killed)
    assert server.run(Job(two, cut)).code == 0
    assert Layout(cut, SCALE).manifest(two.ref).read_bytes() == Layout(expected, SCALE).manifest(one.ref).read_bytes()
