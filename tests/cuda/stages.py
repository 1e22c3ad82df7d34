"""The tiny stages of tests/unit/train, on a device and in a precision, and what a run of one leaves."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file
from torch import Tensor

from stages.engines import run
from stages.spec.resolved import Stage
from stages.store import manifest
from tests.unit.train import tiny

KINDS = (*tiny.OBJECTIVES, "moe", "wide heads")
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


def differences(result: Path, other: Path) -> list[str]:
    """What is not the same bits in two results: files, in tables the first row, in files of tensors how far off."""
    ours, theirs = digests(result), digests(other)
    names = sorted(name for name in ours | theirs if ours.get(name) != theirs.get(name))
    return [f"{name}: {'; '.join(_inside(result / name, other / name))}" for name in names]


def _inside(one: Path, other: Path) -> Iterator[str]:
    if not (one.is_file() and other.is_file()):
        yield "only in one"
    elif one.suffix == ".csv":
        rows = zip(one.read_text().splitlines(), other.read_text().splitlines(), strict=False)
        yield from [f"{mine} | {theirs}" for mine, theirs in rows if mine != theirs][:1] or ["of another length"]
    elif one.suffix == ".safetensors":
        yield unequal(load_file(one), load_file(other))


def unequal(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> str:
    """How many tensors differ in a bit, or are in one of the two only; of the first three, by how much. "" for none."""
    names = {**ours, **theirs}
    found = [name for name in names if not (name in ours and name in theirs and same_bits(ours[name], theirs[name]))]
    shown = [
        f"{name}: {int((ours[name] != theirs[name]).sum())} of {ours[name].numel()}, by at most "
        f"{(ours[name].double() - theirs[name].double()).abs().max().item():.3g}"
        for name in found[:3]
        if name in ours and name in theirs and ours[name].shape == theirs[name].shape
    ]
    return f"{len(found)} of {len(names)} tensors ({', '.join(shown or found[:3])})" if found else ""


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether shapes, types and all bytes are the same: 0.0 and -0.0 are not, a NaN and the same NaN are."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    ours, theirs = (x.detach().contiguous().reshape(-1).view(torch.uint8) for x in (one, other))
    return torch.equal(ours, theirs)
