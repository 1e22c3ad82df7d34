"""Killed at random moments and run again, in every layout of every model: the bits, budgets and rows of no kill."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.engines import Inputs
from stages.spec.resolved import Stage
from tests.nemo import engines, kills
from tests.nemo.engines import Layout, layout
from tests.nemo.ranks import RankError
from tests.nemo.test_resume import same
from tests.unit.train import tiny

KILLS = 3  # of each stage, before it is left alone
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
    ("moe", layout(2, tp=2)),
    ("joint", layout()),
    ("joint", layout(2, pp=2)),
)


def killed_and_run_again(objective: str, where: Layout, seed: int, times: int, folder: Path) -> list[kills.Kill]:
    """The kills that met something."""
    stage = engines.on_nemo(tiny.make(objective), where)
    other, given = tiny.inputs(folder / "other"), tiny.inputs(folder / "one")
    engines.run(stage, other)
    met = []
    for kill in (kills.drawn(where.ranks, seed, number) for number in range(times)):
        said = ended(stage, given, kill)
        if said:
            assert f"rank {kill.rank}: ended without a word" in said
            met.append(kill)
        if given.layout.stage("tiny/box").exists():
            break
    if not given.layout.stage("tiny/box").exists():
        engines.run(stage, given)
    same(engines.left(given), engines.left(other))
    return met


def ended(stage: Stage, given: Inputs, kill: kills.Kill) -> str:
    """How the ranks ended; "" where the kill met nothing, so that the stage came to its end."""
    try:
        engines.run(stage, given, kill)
    except RankError as error:
        return str(error)
    return ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objective", "where", "seed"), [("sft", layout(2, distributed_optimizer=True), 3), ("moe", layout(2, ep=2), 5)]
)
def test_killed_twice(objective: str, where: Layout, seed: int, tmp_path: Path) -> None:
    assert killed_and_run_again(objective, where, seed, 2, tmp_path)


@pytest.mark.nightly
@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda number: f"{CASES[number][0]}-{CASES[number][1]}")
def test_killed_at_random(number: int, tmp_path: Path) -> None:
    objective, where = CASES[number]
    assert killed_and_run_again(objective, where, number, KILLS, tmp_path)
