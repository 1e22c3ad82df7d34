"""What a run needs to go on as if it had never stopped: weights, optimizer, counters, and the metrics written so far.

Written through `stages.store.partials`, which makes a checkpoint whole or absent and digests its files. The metrics
lie inside, so that a resumed run has no row twice and none missing, whichever attempt wrote the checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from stages.contract import ledger
from stages.contract.spikes import Skips
from stages.errors import UserError
from stages.models import tensor_file
from stages.models.tensor_file import Stored
from stages.spec.resolved import Stage
from stages.store import files, json_file
from stages.store.digest import Written
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
    tables: Mapping[str, Written]  # metrics.csv, timing.csv and checksums.csv as they were then: they grow later on


def save(folder: Path, state: Held, tables: Path) -> None:
    """Fill a (temporary) folder with a checkpoint; the tables are copied from the folder `tables`.

    Raises UserError where these are not as they were written.
    """
    files.write(folder / WEIGHTS, tensor_file.blocks(state.weights))
    save_state(folder / OPTIMIZER, state.optimizer, state.gathered)
    save_counters(folder / COUNTERS, state.counters)
    for name, written in state.tables.items():
        files.copy_beginning(tables / name, folder / name, written)


def save_state(path: Path, like: Mapping[str, Tensor], state: Iterable[tuple[str, Tensor]] | None) -> None:
    """Write an optimizer's state as safetensors: `like`, or what `state` gives one by one, as `tensor_file.blocks`."""
    files.write(path, tensor_file.blocks(like, state))


def save_counters(path: Path, counters: Counters) -> None:
    """Write the counters as JSON."""
    fields = asdict(counters)
    if counters.skips is None:
        del fields["skips"]
    json_file.write(path, fields)


def read_counters(folder: Path) -> Counters:
    """The counters of a checkpoint. Raises JsonFileError."""
    return json_file.read_as(folder / COUNTERS, _COUNTERS)


def refuse_other_step(folder: Path, stage: Stage, steps: int) -> None:
    """Raise UserError where a checkpoint's counters are not those after so many steps of the stage, from which all
    follow.
    """
    found, rule = read_counters(folder), None if stage.optimizer is None else stage.optimizer.skip
    if not 0 < steps <= (last := sum(map(ledger.count, stage.phases))):
        raise UserError(f"{folder}: found step {steps}; allowed: 1 to {last}, the stage's.")
    place, step = ledger.step_of(stage.phases, steps)
    phase, before = stage.phases[place], sum(one.budget for one in stage.phases[:place])
    wanted = Counters(place, step.index + 1, step.end, steps, before + step.end, phase.clock_start + step.end)
    # At a phase's end the next may have begun.
    begun = replace(wanted, phase=place + 1, phase_steps=0, phase_consumed=0) if step.end == phase.budget else wanted
    if (plain := replace(found, skips=None)) not in (wanted, begun):
        raise UserError(f"{folder / COUNTERS}: found {_fields(plain)}; allowed: {_fields(wanted)}.")
    norms = None if found.skips is None else len(found.skips.norms)
    if norms != (None if rule is None else min(steps, rule.window)):
        raise UserError(
            f"{folder / COUNTERS}: found {norms or 'no'} norms of gradients; allowed: "
            f"{'none' if rule is None else f'those of the last {min(steps, rule.window)} steps'}."
        )


def _fields(counters: Counters) -> str:
    return ", ".join(f"{name} {value}" for name, value in asdict(counters).items() if value is not None)


@torch.no_grad()
def load(folder: Path, modules: nn.ModuleDict, optimizer: Optimizer, trained: Sequence[str]) -> Counters:
    """Restore everything in place and return the counters; the optimizer is as it was before the stage's first step.

    Raises UserError where tensors do not fit the stage, or the optimizer's state is of another step than the counters.
    """
    wanted, began = modules.state_dict(), optimizer.counts()
    weights, state = _fitting(folder / WEIGHTS, wanted), _fitting(folder / OPTIMIZER, optimizer.shapes())
    for name, tensor in weights.items():
        wanted[name].copy_(tensor)
    for module in trained:
        optimizer.load(state, module, str(folder / OPTIMIZER))
    counters = read_counters(folder)
    made = counters.steps - (0 if counters.skips is None else counters.skips.skipped)
    for name, found in optimizer.counts().items():
        if found != began[name] + made:
            raise UserError(
                f"{folder / OPTIMIZER}: {name}: found {found}; allowed: {began[name] + made}, after the "
                f"{counters.steps} steps of {COUNTERS}. The optimizer's state is of another step: move {folder} away, "
                "and the run goes on from the checkpoint before."
            )
    return counters


def _fitting(path: Path, like: Mapping[str, Tensor]) -> Stored:
    """The tensors of a checkpoint's file. Raises UserError unless their names, types and shapes are those of `like`."""
    found, wanted = Stored.of(path), {name: tensor_file.kind(tensor) for name, tensor in like.items()}
    there = {name: found.kind(name) for name in found}
    if there != wanted:
        differing = sorted(name for name in there.keys() | wanted.keys() if there.get(name) != wanted.get(name))
        first = differing[0]
        raise UserError(
            f"{path}: {len(differing)} tensors do not fit the stage, among them {first}: found "
            f"{there.get(first, 'none')}; allowed: {wanted.get(first, 'none')}. The code has changed since this "
            f"checkpoint was written: move {path.parent} away to start again."
        )
    return found
