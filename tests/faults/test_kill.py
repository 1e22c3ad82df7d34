"""Killed with SIGKILL, at random and more than once, and run again: the same bits as a run that nothing disturbed.

A stage of every objective, and of every other kind, in processes of their own (tests/faults/fork_server.py). After
every kill what is in place is whole; after the last run the manifest, with all digests in it, and metrics.csv are
those of the undisturbed run; no run redoes more than one checkpoint interval. `make nightly` kills many more times.
"""

from __future__ import annotations

import random

import pytest

from tests.faults import cases
from tests.faults.defects import DEFECTS
from tests.faults.kills import Killer
from tests.unit.data.small import build

SEED = 1
KILLS = 2  # of each stage: 32 in all
IN_BACKGROUND = ("coca", "moe", "two_phases")  # again, with checkpoints that are written while training goes on
SWEPT = "next_token"


@pytest.fixture(scope="module")
def killer(tmp_path_factory: pytest.TempPathFactory) -> Killer:
    folder = tmp_path_factory.mktemp("kills")
    return Killer(folder, build(folder / "small"))


@pytest.fixture(scope="module")
def writing(tmp_path_factory: pytest.TempPathFactory) -> Killer:
    """Checkpoints are written in the background."""
    folder = tmp_path_factory.mktemp("background")
    return Killer(folder, build(folder / "small"), background=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", cases.NAMES)
def test_killed_and_run_again_equals_undisturbed(name: str, killer: Killer) -> None:
    draw, kills = random.Random(f"{SEED} {name}"), 0
    while kills < KILLS:
        kills += killer.chain(name, killer.draw(name, draw)[: KILLS - kills])


@pytest.mark.slow
@pytest.mark.parametrize("name", IN_BACKGROUND)
def test_killed_while_it_trains_and_writes_a_checkpoint_equals_undisturbed(name: str, writing: Killer) -> None:
    draw, kills = random.Random(f"{SEED} {name} background"), 0
    while kills < KILLS:
        kills += writing.chain(name, writing.draw(name, draw)[: KILLS - kills])


@pytest.mark.slow
def test_killed_at_every_change_that_writing_a_checkpoint_in_the_background_makes(writing: Killer) -> None:
    """The second of three: a run goes on from the first, or from this one if it was in place."""
    changes = [plan for plan in writing.every_change(SWEPT) if plan.place == "checkpoint"]
    second = changes[len(changes) // 3 : 2 * len(changes) // 3]
    assert len(second) > 25
    for plan in second:
        assert writing.chain(SWEPT, [plan]) == 1


@pytest.mark.slow
@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_that_only_a_kill_brings_out_is_seen(defect: str, killer: Killer) -> None:
    assert killer.seen(defect) > 0
