"""Section: how long training stands still for a checkpoint, beside a plain safetensors file with fsync."""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.device import harness
from benchmarks.device.rows import Row, Rows, against
from benchmarks.device.sections import Size
from benchmarks.device.training import CPU, GPU, ROOT
from stages.models.build import build
from stages.store import partials
from stages.store.digest import Written, digest_bytes
from stages.train import checkpoint
from stages.train.checkpoint import Counters, Held
from stages.train.optimizer import Optimizer
from stages.train.param_groups import trained_slots
from stages.train.snapshot import Snapshot

REPEAT, TABLE = 3, b"step\n"
TABLE_WRITTEN = Written(len(TABLE), digest_bytes(TABLE))


def run(size: Size, rows: Rows) -> None:
    device = torch.device(size.device)
    work = CPU[0] if size.rehearsed else GPU[0]
    rows.measure("checkpoint", lambda: compared(work, device))


def compared(work: harness.Work, device: torch.device) -> list[Row]:
    """Medians of a few, one way and the other in turn, on the disk that results go to."""
    made = harness.stage(work, device.type)
    modules = build(made, device.type)
    if made.optimizer is None:
        raise ValueError("the benchmark's stage has an optimizer")
    optimizer = Optimizer(made.optimizer, trained_slots(modules, made.trained, made.optimizer))
    weights, moments = modules.state_dict(), optimizer.state()
    state = {**weights, **moments}
    size = sum(tensor.nbytes for tensor in state.values())
    snapshot = Snapshot(state, device)
    blocking, whole, plain = [], [], []
    (ROOT / "results").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ROOT / "results") as name:
        folder = Path(name)
        for table in (checkpoint.METRICS, checkpoint.TIMING):
            (folder / table).write_bytes(TABLE)
        for number in range(1, REPEAT + 1):
            began = harness.now(device)
            copies = snapshot.take(state.items())
            snapshot.wait()
            blocking.append(harness.now(device) - began)
            held = Held(
                {key: copies[key] for key in weights}, {key: copies[key] for key in moments}, None,
                Counters(0, 0, 0, number, 0, 0), dict.fromkeys((checkpoint.METRICS, checkpoint.TIMING), TABLE_WRITTEN),
            )  # fmt: skip
            partials.save(folder / f"partial-{number:09}", partial(checkpoint.save, state=held, tables=folder))
            whole.append(harness.now(device) - began)
            began = harness.now(device)
            save_plainly(folder / f"plain-{number}.safetensors", state)
            plain.append(harness.now(device) - began)
    snapshot.close()
    setting = f"{size / 1e9:.2f} GB of weights and moments, digested"
    theirs = ("safetensors and fsync", statistics.median(plain))
    return [
        against("checkpoint: training stands still", setting, statistics.median(blocking), theirs, "s"),
        against("checkpoint: until it is whole", setting, statistics.median(whole), theirs, "s", ("<=", 1.2)),
    ]


def save_plainly(path: Path, state: Mapping[str, Tensor]) -> None:
    """As most training scripts do it."""
    save_file({key: tensor.detach().cpu().contiguous() for key, tensor in state.items()}, path)
    with path.open("rb") as file:
        os.fsync(file.fileno())
