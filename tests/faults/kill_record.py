"""results/records/kills.md: what `make nightly` killed and what it cost, in Markdown."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from stages.report.commit import commit
from stages.store.files import write_atomic
from stages.store.fingerprint import fingerprint
from tests.faults import cases
from tests.faults.defects import DEFECTS
from tests.faults.kills import Tally
from tests.faults.victim import PLACES
from tests.unit.train import tiny

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Part:
    """Kills of one kind, and the seconds that they took, undisturbed runs and comparisons included."""

    tally: Tally
    seconds: float


def write(seed: int, drawn: Part, defects: Mapping[str, int], swept: Part | None) -> None:
    """Write the record. It is only called when every result was that of the undisturbed run."""
    write_atomic(ROOT / "results/records/kills.md", page(seed, drawn, defects, swept).encode())


def page(seed: int, drawn: Part, defects: Mapping[str, int], swept: Part | None) -> str:
    """The record as text; `swept` is None until that part, the longest, is done."""
    machine, how = fingerprint(), Counter(kill.how for kill in drawn.tally.kills)
    paragraphs = [
        "# Measured: kills",
        f"{datetime.now(UTC):%Y-%m-%d}, commit {commit(ROOT)}, {machine['cpu_model']}, {machine['cpu_level']}, torch "
        f"{machine['torch']}, Python {machine['python']}. Written by `make nightly` (tests/faults).",
        "Every kill is a SIGKILL of a process that runs a short stage as `stages run` does; then the stage is run "
        "again until it is done. Every time, what the kill left in place was whole, and in the end the manifest, with "
        "all digests in it, and metrics.csv were those of an undisturbed run, byte for byte.",
        "## At random",
        f"Seed {seed}: {len(drawn.tally.kills)} kills, one to three of each of {drawn.tally.chains} runs, "
        f"{how['moment']} at a moment of the whole run and {how['change']} at a change that it makes to the disk, in "
        f"{drawn.seconds:.0f} s. {redone(drawn.tally)}",
        kills_table(drawn.tally),
        "## Defects",
        "Put into the code, each leaves an undisturbed run as it is. Kills at changes of the disk in the place named, "
        "in an order that is drawn, until one was seen:",
        defects_table(defects),
    ]
    if swept is not None:
        (name,) = {kill.name for kill in swept.tally.kills}
        paragraphs += [
            "## At every change of the disk",
            f"Stage `{name}`, killed before each change, or half-way through where it is a write, in "
            f"{swept.seconds:.0f} s. {redone(swept.tally)}",
            kills_table(swept.tally),
        ]
    return "\n\n".join(paragraphs) + "\n"


def redone(tally: Tally) -> str:
    """Median and maximum of the steps that were finished and had to be done again."""
    every = tiny.EXECUTION.checkpoint_every
    return (
        f"Finished steps that a kill made a training stage do again: median {statistics.median(tally.redone):g}, "
        f"maximum {max(tally.redone)}, with a checkpoint every {every} steps."
    )


def kills_table(tally: Tally) -> str:
    """Kills by stage and place."""
    counts = Counter((kill.name, kill.place) for kill in tally.kills)
    names = [name for name in cases.NAMES if any(counts[name, place] for place in PLACES)]
    lines = [f"| stage | {' | '.join(PLACES)} | all |", "| --- " * (len(PLACES) + 2) + "|"]
    for name in names:
        found = [counts[name, place] for place in PLACES]
        lines.append(f"| {name} | {' | '.join(map(str, found))} | {sum(found)} |")
    if len(names) > 1:
        sums = [sum(counts[name, place] for name in names) for place in PLACES]
        lines.append(f"| all | {' | '.join(map(str, sums))} | {sum(sums)} |")
    return "\n".join(lines)


def defects_table(defects: Mapping[str, int]) -> str:
    """Defects, and how many kills it took until each was seen."""
    rows = [
        f"| {DEFECTS[name].what} | {DEFECTS[name].case} | {DEFECTS[name].place} | {defects[name]} |" for name in defects
    ]
    return "\n".join(["| defect | stage | place | kills |", "| --- | --- | --- | --- |", *rows])
