"""Killed at random moments and run again, in every layout of every model: the bits, budgets and rows of no kill."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stages.engines import Inputs
from stages.spec.resolved import Stage
from tests.nemo import engines, kills
from tests.nemo.engines import Layout, layout
from tests.nemo.ranks import RankError
from tests.nemo.test_resume import same
from tests.unit.train import tiny

KILLS = 3  # of each stage, 39 in all
LOST = "stages.train.stopping.LostRankError: another rank has ended or is out of reach; the log's last line says which."
LIMIT = 300.0  # seconds for one run, which takes five on an idle machine
CASES = (
    ("next_token", layout()),
    ("next_token", layout(2, distributed_optimizer=True)),
    ("sft", layout(2, tp=2, sequence_parallel=True)),
    ("next_token", layout(2, pp=2)),
    ("sft", layout(2, cp=2)),
    ("next_token", layout(4, tp=2, pp=2)),
    ("looped", layout(2, tp=2)),
    ("looped", layout(2, cp=2)),
    ("moe", layout(2, ep=2)),
    ("moe", layout(2, tp=2, sequence_parallel=True)),
    ("joint", layout()),
    ("joint", layout(2, pp=2)),
    ("preference", layout(2, cp=2)),
)


def killed_and_run_again(objective: str, where: Layout, seed: int, times: int, folder: Path) -> None:
    """Until `times` kills have met something: a stage that comes to its end is compared, and begins again elsewhere."""
    stage = engines.on_nemo(tiny.make(objective), where)
    other = tiny.inputs(folder / "other")
    engines.run(stage, other, seconds=LIMIT)
    met = finished = 0
    while met < times:
        given = tiny.inputs(folder / str(finished))
        kill = kills.drawn(where.ranks, seed, met + finished)
        if said := ended(stage, given, kill):
            assert f"rank {kill.rank}: ended without a word" in said
            assert survivors(said) <= {LOST}
            met += 1
        if met == times and not given.layout.stage("tiny/box").exists():
            engines.run(stage, given, seconds=LIMIT)
        if given.layout.stage("tiny/box").exists():
            same(engines.left(given), engines.left(other))
            finished += 1


def survivors(said: str) -> set[str]:
    """The errors by which the ranks ended that were not killed."""
    return {one.rstrip().rpartition("\n")[2] for one in re.split(r"^rank ", said, flags=re.M) if "Traceback" in one}


def ended(stage: Stage, given: Inputs, kill: kills.Kill) -> str:
    """How the ranks ended; "" where the kill met nothing, so that the stage came to its end."""
    try:
        engines.run(stage, given, kill, seconds=LIMIT)
    except RankError as error:
        return str(error)
    return ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objective", "where", "seed"), [("sft", layout(2, distributed_optimizer=True), 3), ("moe", layout(2, ep=2), 5)]
)
def test_killed_twice(objective: str, where: Layout, seed: int, tmp_path: Path) -> None:
    killed_and_run_again(objective, where, seed, 2, tmp_path)


@pytest.mark.slow
def test_a_rank_that_waits_for_a_killed_one_inside_core_says_so_in_a_line(tmp_path: Path) -> None:
    """Weights of the distributed optimizer are exchanged by Core, in the update."""
    stage = engines.on_nemo(tiny.make("sft"), layout(2, distributed_optimizer=True))
    said = ended(stage, tiny.inputs(tmp_path), kills.Kill(rank=1, moment="core", count=1, before=True))
    assert survivors(said) == {LOST}


@pytest.mark.nightly
@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda number: f"{CASES[number][0]}-{CASES[number][1]}")
def test_killed_at_random(number: int, tmp_path: Path) -> None:
    objective, where = CASES[number]
    killed_and_run_again(objective, where, number, KILLS, tmp_path)
