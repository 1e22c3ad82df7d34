"""Writes results/records/planted_defects.md: what the fixtures find of each defect, and what it does to the final loss.

What is found is what the tests of this directory found in this run; nothing of it is typed in.

Usage: python -m tests.planted.record    (exits 1 where a defect is not found, or a sound loop gives an alarm)
"""

from __future__ import annotations

import gc
import os
import re
import sys
import tempfile
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import redirect_stdout
from multiprocessing import get_context
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from stages.store import files
from tests.planted import finding
from tests.planted.defects import DEFECTS, Defect
from tests.planted.plain import heldout

TARGET = Path(__file__).resolve().parents[2] / "results/records/planted_defects.md"
STEPS, CUTS, GATE, SEEDS = 48, (16, 33), 0.01, (7, 8, 9, 10, 11)
WORKERS = 2
FIRST = re.compile(r"first differs at step (\d+): (.+)")
NOTHING, MISSED = "nothing", "**not found**"
HEAD = f"""# Planted defects, and a tolerance on the final loss

Written by `python -m tests.planted.record`. Three tiny loops (plain torch, Hugging Face's Trainer, Lightning) with
twelve defects; with no GradScaler on a CPU, two of them cannot be planted in the last two.

- **found**: the first step and its first component in the message of the fixture, in the tests of tests/planted as
  this command ran them (12 steps; those of `twin` are stopped after steps 4 and 9). "{NOTHING}" for a sound loop.
- **change**: of the loss of held-out samples after {STEPS} steps, against the sound loop from the same seed, smallest
  and largest over {len(SEEDS)} seeds of weights, dropout and order of the samples. Where the fixture is `twin`, the
  run is stopped after steps {CUTS[0]} and {CUTS[1]}; for a sound loop, it is the resumed run against the uninterrupted.
- **tolerance**: in how many seeds the change is within {GATE:.0%} of the sound loop's loss.

| defect | loop | fixture | found | final loss, sound | change | a {GATE:.0%} tolerance |
| --- | --- | --- | --- | --- | --- | --- |
"""
Key = tuple[str, str, str]  # library, defect, fixture


class Collected:
    """A pytest plugin that keeps what the fixtures said."""

    def __init__(self) -> None:
        self.said: dict[Key, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for name, value in report.user_properties if report.when == "call" else ():
            if name == finding.PROPERTY:
                assert isinstance(value, tuple)
                library, defect, fixture, said = value
                self.said[library, defect, fixture] = said


def unwatched(**shown: Any) -> None:
    """The `watch` of a run that is not compared."""


def final(library: str, place: int, sound: bool, cuts: tuple[int, ...], seed: int) -> float:
    """Held-out loss at the end of a run."""
    loop = finding.loops_with(place)[library][0 if sound else 1]()  # type: ignore[misc]
    gc.freeze()  # the Trainer searches all objects in each run, those of the libraries too
    loop.seed = seed
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        for until in (*cuts, STEPS):
            model = loop.train(until, Path(folder), unwatched)
    return heldout(model)


def found(said: str, defect: Defect | None) -> tuple[str, bool]:
    """What a fixture's message says for the table, and whether it is as it has to be; `defect` is None for a sound one.

    A defect that is found at another step, or by another component, is not found.
    """
    first = FIRST.search(said)
    where = f"step {first[1]}: {first[2]}" if first else said.partition("\n")[0]
    if defect is None:
        return (f"**false alarm**, {where}", False) if said else (NOTHING, True)
    if finding.expected(defect) in f"{said}\n":
        return where, True
    return (f"{MISSED}, {where}" if said else MISSED), False


def tolerated(old: list[float], new: list[float]) -> tuple[list[str], int]:
    """Cells of the table about final losses, and in how many seeds a tolerance lets the change pass."""
    changes = [abs(two - one) / one for one, two in zip(old, new, strict=True)]
    passed = sum(one <= GATE for one in changes)
    spread = f"{min(changes):.2%} to {max(changes):.2%}"
    return [f"{mean(old):.4f}", spread, f"passes in {passed} of {len(changes)} seeds"], passed


def measured(said: dict[Key, str], pool: Executor) -> tuple[list[str], int, int]:
    """The table's lines, how many of them are not as they have to be, and the defects' runs within the tolerance."""
    rows: list[tuple[int, Defect | None, str]] = [(place, one, one.fixture) for place, one in enumerate(DEFECTS)]
    rows += [(0, None, fixture) for fixture in finding.FIXTURES]
    losses: dict[tuple[Any, ...], list[Future[float]]] = {}
    table: list[tuple[list[str], tuple[Any, ...] | None]] = []
    wrong = within = 0
    for place, defect, fixture in rows:
        sound, name = defect is None, finding.SOUND if defect is None else defect.name
        for library, (_, broken) in finding.loops_with(place).items():
            if not sound and broken is None:
                continue
            what, right = found(said.get((library, name, fixture), "the test did not run"), defect)
            wrong += not right
            run = (library, place, sound, CUTS if fixture == "twin" else ())
            again = sound and not run[-1]  # the run that the others are compared with
            table.append(([name, library, f"`{fixture}`", what], None if again else run))
            for one in (run, (library, 0, True, ())):
                if one not in losses:
                    losses[one] = [pool.submit(final, *one, seed) for seed in SEEDS]
    final_losses = {run: [one.result() for one in futures] for run, futures in losses.items()}
    lines = []
    for cells, measured_run in table:
        more, passed = ["", "", ""], 0
        if measured_run is not None:
            more, passed = tolerated(final_losses[measured_run[0], 0, True, ()], final_losses[measured_run])
        within += passed if cells[0] != finding.SOUND else 0
        lines.append(f"| {' | '.join([*cells, *more])} |")
    return lines, wrong, within


def main() -> int:
    """Run the tests, measure the losses and write the page; 1 where something is not as it has to be."""
    os.environ["PYTHONWARNINGS"] = "ignore"  # the libraries warn of their own deprecations
    collected = Collected()
    options = ["-q", "-n", str(WORKERS), "-W", "ignore", "-p", "no:cacheprovider", "-k", "defect or alarm"]
    code = pytest.main([*options, str(Path(__file__).with_name("test_planted.py"))], plugins=[collected])
    with ProcessPoolExecutor(WORKERS, get_context("spawn")) as pool:
        lines, wrong, within = measured(collected.said, pool)
    sound = sum(line.startswith(f"| {finding.SOUND} ") for line in lines)
    defects = len(lines) - sound
    missed = sum(MISSED in line for line in lines)
    end = (
        f"\nThe fixtures find {defects - missed} of {defects} planted defects, and give {wrong - missed} false alarms "
        f"in {sound} tests of sound loops.\nA {GATE:.0%} tolerance on the final loss lets a defect pass in "
        f"{within} of {defects * len(SEEDS)} runs.\n"
    )
    if code:
        end += "\n**The tests fail: a defect is found at another step or component than the tests expect, or not.**\n"
    files.write_atomic(TARGET, (HEAD + "\n".join(lines) + "\n" + end).encode())
    return int(bool(wrong or code))


if __name__ == "__main__":
    sys.exit(main())
