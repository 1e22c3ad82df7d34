"""The tiny stages of tests/unit/train, on a device and in a precision, and what a run of one leaves."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, Literal

import torch

from stages.engines import run
from stages.spec.resolved import Stage
from stages.store import manifest
from tests.unit.train import tiny

KINDS = (*tiny.OBJECTIVES, "moe")
Precision = Literal["torch-fp32", "torch-bf16"]


def on(stage: Stage, device: torch.device, precision: Precision = "torch-fp32", **execution: Any) -> Stage:
    """The same stage, executed on `device`."""
    changed = stage.execution.model_copy(update={"device": device.type, **execution})
    return stage.model_copy(update={"engine_class": precision, "execution": changed})


def cut(stage: Stage, steps: int) -> Stage:
    """The stage with its first steps alone (of a phase of four sequences a step, the smaller number of its ladder)."""
    (phase,) = stage.phases
    short = phase.model_copy(update={"budget": steps * phase.batch[0].sequences * phase.context})
    return stage.model_copy(update={"phases": (short,), "schedule": tiny.schedule(short.budget)})


def train(stage: Stage, root: Path) -> Path:
    """Run the stage under `root`; the folder of its result."""
    inputs = tiny.inputs(root)
    run(stage, inputs)
    return inputs.layout.stage(f"{stage.pipeline}/{stage.name}")


def losses(result: Path) -> list[tuple[float, float]]:
    """(loss, gradient norm) of each step."""
    with (result / "metrics.csv").open() as file:
        return [(float(row["loss"]), float(row["grad_norm"])) for row in csv.DictReader(file)]


def digests(result: Path) -> dict[str, str]:
    """Of every file that the manifest covers: weights, optimizer state, metrics."""
    return {shard.file: shard.blake3 for shard in manifest.read(result / "manifest.json").shards}
