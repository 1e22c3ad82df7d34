"""Killed with SIGKILL, at random and more than once, and run again: the same bits as a run that nothing disturbed.

A stage of every objective, and of every other kind, in processes of their own (tests/faults/zygote.py). After every
kill what is in place is whole; after the last run the manifest, with all digests in it, and metrics.csv are those of
the undisturbed run; no run redoes more than one checkpoint interval. `make nightly` kills many more times.
"""

from __future__ import annotations

import random

import pytest

from tests.faults import cases
from tests.faults.defects import DEFECTS
from tests.faults.kills import Killer
from tests.unit.data.small import build

SEED = 1
KILLS = 2  # of each stage: 28 in all


@pytest.fixture(scope="module")
def killer(tmp_path_factory: pytest.TempPathFactory) -> Killer:
    folder = tmp_path_factory.mktemp("kills")
    return Killer(folder, build(folder / "small"))


@pytest.mark.slow
@pytest.mark.parametrize("name", cases.NAMES)
def test_killed_and_run_again_equals_undisturbed(name: str, killer: Killer) -> None:
    draw, kills = random.Random(f"{SEED} {name}"), 0
    while kills < KILLS:
        kills += killer.chain(name, killer.draw(name, draw)[: KILLS - kills])


@pytest.mark.slow
@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_that_only_a_kill_brings_out_is_seen(defect: str, killer: Killer) -> None:
    assert killer.seen(defect) > 0
