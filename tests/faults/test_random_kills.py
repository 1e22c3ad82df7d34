"""Hundreds of kills, by `make nightly`, which records them in results/records/kills.md."""

from __future__ import annotations

import random
import time
from itertools import cycle
from pathlib import Path

import pytest

from tests.faults import cases, kill_record
from tests.faults.defects import DEFECTS
from tests.faults.kill_record import Part
from tests.faults.kills import Kill, Killer, Tally
from tests.unit.data.small import build

SEED, KILLS = 1, 300
SWEPT = "replacing"  # it makes the most changes in its commit: an earlier result is moved out of its place


def drawn(folder: Path) -> Part:
    """Kills at random, the stages in turn."""
    began, draw, killer = time.monotonic(), random.Random(SEED), Killer(folder, build(folder / "small"))
    for name in cycle(cases.NAMES):
        left = KILLS - len(killer.tally.kills)
        if not left:
            return Part(killer.tally, time.monotonic() - began)
        killer.chain(name, killer.draw(name, draw)[:left])
    raise AssertionError("no stages")


def swept(folder: Path) -> Part:
    """A kill at every single change of the disk that one stage makes."""
    began, killer = time.monotonic(), Killer(folder, build(folder / "small"))
    for plan in killer.every_change(SWEPT):
        assert killer.chain(SWEPT, [plan]) == 1
    return Part(killer.tally, time.monotonic() - began)


def seen(folder: Path) -> dict[str, int]:
    """Every defect, and how many kills it took to see it."""
    killer = Killer(folder, build(folder / "small"))
    return {name: killer.seen(name) for name in DEFECTS}


@pytest.mark.nightly
def test_hundreds_of_kills_change_nothing(tmp_path: Path) -> None:
    random_kills, defects = drawn(tmp_path / "drawn"), seen(tmp_path / "defects")
    assert len(random_kills.tally.kills) == KILLS
    kill_record.write(SEED, random_kills, defects, None)
    kill_record.write(SEED, random_kills, defects, swept(tmp_path / "swept"))


def test_the_record_counts_kills_by_stage_and_place_and_the_steps_done_again() -> None:
    kills = [Kill("coca", "step", "moment"), Kill("keep", "commit", "change"), Kill("keep", "commit", "change")]
    found = Part(Tally(kills, redone=[0, 3, 1], chains=2), seconds=1.4)
    every = Part(Tally([Kill(SWEPT, "start", "change")], redone=[0], chains=1), seconds=1.0)
    text = kill_record.page(5, found, {"data": 4}, every)
    assert "Seed 5: 3 kills, one to three of each of 2 runs, 1 at a moment of the whole run and 2 at a change" in text
    assert "in 1 s. Finished steps that a kill made a training stage do again: median 1, maximum 3" in text
    assert "| coca | 0 | 1 | 0 | 0 | 0 | 1 |\n| keep | 0 | 0 | 0 | 0 | 2 | 2 |\n| all | 0 | 1 | 0 | 0 | 2 | 3 |" in text
    assert "| the loader begins again at the first sample | next_token | result | 4 |" in text
    assert f"Stage `{SWEPT}`, killed before each change" in text
