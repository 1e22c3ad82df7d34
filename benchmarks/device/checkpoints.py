"""Section: how long training stands still for a checkpoint, beside a plain safetensors file with fsync."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from benchmarks.device import harness
from benchmarks.device.rows import Row, Rows, against
from benchmarks.device.sections import Size
from benchmarks.device.training import CPU, GPU, ROOT
from stages.models.build import build
from stages.store import partials
from stages.train import checkpoint
from stages.train.checkpoint import Counters
from stages.train.optimizer import Optimizer, trained_slots

REPEAT = 3


def run(size: Size, rows: Rows) -> None:
    device = torch.device(size.device)
    work = CPU[0] if size.rehearsed else GPU[0]
    rows.measure("checkpoint", lambda: compared(work, device))


def compared(work: harness.Work, device: torch.device) -> Row:
    """The median of a few, one way and the other in turn, on the disk that results go to."""
    made = harness.stage(work, device.type)
    modules = build(made).to(device)
    if made.optimizer is None:
        raise ValueError("the benchmark's stage has an optimizer")
    optimizer = Optimizer(made.optimizer, trained_slots(modules, made.trained, made.optimizer))
    state = {**modules.state_dict(), **optimizer.state()}
    size = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    (ROOT / "results").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ROOT / "results") as name:
        folder = Path(name)
        for table in (checkpoint.METRICS, checkpoint.TIMING):
            (folder / table).write_text("step\n")

        def ours(number: int) -> None:
            def write(place: Path) -> None:
                checkpoint.save(place, modules, optimizer, Counters(0, 0, 0, number, 0, 0), folder)

            partials.save(folder / f"partial-{number:09}", write)

        def plain(number: int) -> None:
            path = folder / f"plain-{number}.safetensors"
            save_file({key: tensor.detach().cpu().contiguous() for key, tensor in state.items()}, path)
            with path.open("rb") as file:
                os.fsync(file.fileno())

        times: dict[str, list[float]] = {"ours": [], "plain": []}
        for number in range(1, REPEAT + 1):
            for way, save in (("ours", ours), ("plain", plain)):
                began = harness.now(device)
                save(number)
                times[way].append(time.perf_counter() - began)
    held, theirs = (sorted(found)[REPEAT // 2] for found in times.values())
    setting = f"{size / 1e9:.2f} GB of weights and moments, digested, to {ROOT / 'results'}"
    return against("checkpoint, blocking", setting, held, ("safetensors and fsync", theirs), "s", ("<=", 1.2))
