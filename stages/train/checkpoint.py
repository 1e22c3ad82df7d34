"""What a run needs to go on as if it had never stopped: weights, optimizer, counters, and the metrics written so far.

Written through `stages.store.partials`, which makes a checkpoint whole or absent and digests its files. The metrics
lie inside, so that a resumed run has no row twice and none missing, whichever attempt wrote the checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from stages.contract.spikes import Skips
from stages.errors import UserError
from stages.models import tensor_file
from stages.models.tensor_file import Stored
from stages.store import files, json_file
from stages.train.optimizer import Optimizer

WEIGHTS, OPTIMIZER, COUNTERS = "weights.safetensors", "optimizer.safetensors", "counters.json"
METRICS, TIMING, CHECKSUMS = "metrics.csv", "timing.csv", "checksums.csv"


@dataclass(frozen=True)
class Counters:
    """How far a stage has come. Ledger units are LLM tokens or image patches."""

    phase: int  # the phase that runs next, or runs now
    phase_steps: int  # steps done in it
    phase_consumed: int  # ledger units consumed in it
    steps: int  # steps done in the stage
    consumed: int  # ledger units consumed in the stage
    clock: int  # what the schedule was last read at
    skips: Skips | None = None  # where the optimizer skips steps


_COUNTERS = TypeAdapter(Counters)


@dataclass(frozen=True)
class Held:
    """What a checkpoint contains: a state at one moment, live or copied."""

    weights: Mapping[str, Tensor]  # router biases and other buffers among them
    optimizer: Mapping[str, Tensor]  # its state, or the types and shapes of what `gathered` gives one by one
    gathered: Iterable[tuple[str, Tensor]] | None
    counters: Counters
    tables: Mapping[str, int]  # bytes of metrics.csv, timing.csv and checksums.csv then, which grow later on


def save(folder: Path, state: Held, tables: Path) -> None:
    """Fill a (temporary) folder with a checkpoint; the tables are copied from the folder `tables`."""
    files.write(folder / WEIGHTS, tensor_file.blocks(state.weights))
    save_state(folder / OPTIMIZER, state.optimizer, state.gathered)
    save_counters(folder / COUNTERS, state.counters)
    for name, size in state.tables.items():
        files.write(folder / name, files.beginning(tables / name, size))


def save_state(path: Path, like: Mapping[str, Tensor], state: Iterable[tuple[str, Tensor]] | None) -> None:
    """Write an optimizer's state as safetensors: `like`, or what `state` gives one by one, as `tensor_file.blocks`."""
    files.write(path, tensor_file.blocks(like, state))


def save_counters(path: Path, counters: Counters) -> None:
    """Write the counters as JSON."""
    fields = asdict(counters)
    if counters.skips is None:
        del fields["skips"]
    json_file.write(path, fields)


@torch.no_grad()
def load(folder: Path, modules: nn.ModuleDict, optimizer: Optimizer, trained: Sequence[str]) -> Counters:
    """Restore everything in place and return the counters; the optimizer is as it was before the stage's first step.

    Raises UserError where names do not fit the stage, or the optimizer's state is of another step than the counters.
    """
    weights, wanted = Stored.of(folder / WEIGHTS), modules.state_dict()
    if set(weights) != set(wanted):
        differing = sorted(set(weights) ^ set(wanted))
        raise UserError(
            f"{folder / WEIGHTS}: {len(differing)} tensors do not fit the stage, among them {differing[0]}. "
            f"The code has changed since this checkpoint was written: move {folder} away to start again."
        )
    for name, tensor in weights.items():
        wanted[name].copy_(tensor)
    state, began = Stored.of(folder / OPTIMIZER), optimizer.counts()
    for module in trained:
        optimizer.load(state, module, str(folder / OPTIMIZER))
    counters = json_file.read_as(folder / COUNTERS, _COUNTERS)
    made = counters.steps - (0 if counters.skips is None else counters.skips.skipped)
    for name, found in optimizer.counts().items():
        if found != began[name] + made:
            raise UserError(
                f"{folder / OPTIMIZER}: {name}: found {found}; allowed: {began[name] + made}, after the "
                f"{counters.steps} steps of {COUNTERS}. The optimizer's state is of another step: move {folder} away, "
                "and the run goes on from the checkpoint before."
            )
    return counters
