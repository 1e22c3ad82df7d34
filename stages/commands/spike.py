"""`stages spike P/S`: steps whose loss or gradient norm stands out, and the documents that they read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any

from stages.commands.batch import fields_of, rows_of, sources_of
from stages.commands.chosen import Chosen
from stages.commands.replay import computed, inputs, lines, training
from stages.errors import UsageError
from stages.forensics.batch import batch
from stages.forensics.recorded import Recorded, recorded
from stages.forensics.spike import Spike, spikes
from stages.printable import print_json, printable
from stages.spec.resolved import Stage
from stages.store import manifest
from stages.store.layout import Layout

ROWS = 8  # of a step that are printed; --json has all


def print_spikes(ref: str, scale: str, again: bool, releases: Path | None, as_json: bool) -> int:
    """Print them; with `again`, the steps are replayed too, and the exit code is 1 where something differs."""
    trained = training(ref, scale)
    stage, layout, known = trained.stage, trained.layout, _known(trained)
    found = spikes(known.rows)
    if as_json and again:
        raise UsageError("found --json with --replay; allowed: one of them. `stages replay --json` has all figures.")
    if as_json:
        print_json([_fields(stage, one, layout.data) for one in found])
        return 0
    for line in _lines(trained.ref, stage, known, found, layout):
        print(printable(line))
    if not (again and found):
        return 0
    stage, given, known = inputs(trained, releases)
    replayed, repeats = computed(stage, given, known, found[0].step, found[-1].step)
    for line in lines(trained.ref, known, replayed, repeats):
        print(printable(line))
    return 0 if replayed.equal else 1


def _known(trained: Chosen) -> Recorded:
    try:
        parents = manifest.parents(trained.layout, trained.parent_keys)
    except manifest.ManifestError:  # a finished stage has its steps all the same; a checkpoint then fits nothing
        parents = {}
    return recorded(trained.layout, trained.ref, trained.key, parents)


def _lines(ref: str, stage: Stage, known: Recorded, found: Sequence[Spike], layout: Layout) -> Iterator[str]:
    steps = len({one.step for one in found})
    yield f"{ref}: {steps} of {len(known.rows):,} recorded steps stand out from the steps before them"
    for step, spiked in groupby(found, key=lambda one: one.step):
        for one in spiked:
            yield (
                f"step {step:,}: {one.column} {one.value:.4g}, usually {one.usual:.4g} "
                f"({one.score:.0f} times the usual spread)"
            )
        yield f"  targets {known.row(step)['supervised']}, usually {_targets(known, step):g}"
        read = batch(stage, step, layout.data)
        yield from sources_of(read)
        rows = list(rows_of(read))
        yield from rows[:ROWS]
        if len(rows) > ROWS:
            yield f"  and {len(rows) - ROWS:,} rows more: stages batch {ref} --step {step} --scale {layout.scale}"


def _targets(known: Recorded, step: int) -> float:
    """The median number of targets of the steps of the same phase."""
    phase = known.row(step)["phase"]
    return median(float(row["supervised"]) for row in known.rows if row["phase"] == phase)


def _fields(stage: Stage, spike: Spike, data_root: Path) -> dict[str, Any]:
    return {**asdict(spike), "batch": fields_of(batch(stage, spike.step, data_root))}
