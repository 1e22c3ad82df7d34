"""One short run of a stage by the project's own engine, with what is kept of it."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from blake3 import blake3

from stages import engines
from stages.data.loading.loader import PhaseData
from stages.engines import training
from stages.errors import UserError
from stages.spec.key import phase_keys
from stages.spec.resolved import Stage
from stages.store import json_file, manifest
from stages.store.layout import Layout
from stages.testing import curves, step_tensors
from stages.testing.trial_runs import Found
from stages.train import loop
from stages.train.stopping import StoppedError

DIGEST = 16


def run(
    layout: Layout,
    ref: str,
    stages: Mapping[str, Stage],
    keys: Mapping[str, str],
    releases: Mapping[str, Path],
    cuts: list[int],
    samples: bool,
) -> Found:
    """Run a stage to its end, with a stop after each step of `cuts`. `samples`: whether reads are noted."""
    stage, read = stages[ref], list[Any]()
    above = {parent: keys[parent] for parent in stage.parents}
    parents = manifest.parents(layout, above)
    inputs = engines.Inputs(layout, keys[ref], phase_keys(stage, above), parents, layout.data, releases)
    for cut in cuts:
        with noting(read), stopping(cut):
            try:
                engines.run(stage, inputs)
            except StoppedError:
                continue
        raise UserError(f"{ref}: was asked to stop after step {cut}, and did not")
    with noting(read):
        engines.run(stage, inputs)
    return found(layout.stage(ref), read if samples else None)


def found(folder: Path, read: list[Any] | None) -> Found:
    """What a result has: its steps, and digests of final weights, of final optimizer state and of all samples."""
    rows: list[dict[str, str]] = []
    if (folder / "metrics.csv").is_file():
        with (folder / "metrics.csv").open() as file:
            rows = list(csv.DictReader(file))
    record = manifest.read(folder / "manifest.json")
    end = {one.file: one.blake3[:DIGEST] for one in record.shards if one.file.endswith(".safetensors")}
    if read:
        end["samples"] = str(blake3(json.dumps(read, allow_nan=False).encode()).hexdigest())[:DIGEST]
    environment = json_file.read(folder / "run.json")["environment"]["id"]
    tensors = step_tensors.of_result(folder)
    return Found(
        str(environment), {"steps": [step(row, tensors.get(row["step"], {})) for row in rows], "end": end}, tensors
    )


def step(row: Mapping[str, str], tensors: Mapping[str, step_tensors.Tensors]) -> dict[str, Any]:
    """A row of metrics.csv, numbers to their last bit, with a digest of each component."""
    digests = {name: step_tensors.digest(one) for name, one in tensors.items()}
    numbers = {name: curves.hexed(float(row[name])) for name in ("lr", "loss", "grad_norm")}
    return step_tensors.ordered({"step": int(row["step"]), "phase": row["phase"], **digests, **numbers})


def stopping(after: int) -> Any:
    """Within the block, training is asked to stop after a step."""

    def record(run: loop.Run, phase: Any, stepper: Any, counters: Any, *rest: Any) -> None:
        recorded(run, phase, stepper, counters, *rest)
        if counters.steps == after:
            run.stop.ask()

    recorded = loop.record
    return mock.patch.object(loop, "record", record)


def noting(read: list[Any]) -> Any:
    """Within the block, what training reads is added to `read`: the first loader of each phase, not the last pass's."""
    loaders: dict[str, PhaseData] = {}

    class Noting(PhaseData):
        def samples(self, first: int, count: int, tail: int) -> Any:
            return self._note(rows := super().samples(first, count, tail), [row.spans for row in rows])

        def pairs(self, first: int, count: int, tail: int) -> Any:
            return self._note(rows := super().pairs(first, count, tail), [row.items for row in rows])

        def _note(self, rows: Any, ids: list[Any]) -> Any:
            if loaders.setdefault(self.phase.name, self) is self:
                read.extend(ids)
            return rows

    return mock.patch.object(training, "PhaseData", Noting)
