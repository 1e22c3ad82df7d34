"""When and how the checkpoints of a run are written, on the rank that writes.

Waiting: training stands still until the checkpoint is in place. In the background: training goes on with the next step
once the state is copied, and a thread writes the copy. Either way a checkpoint is whole or absent, of one step, and
earlier ones are removed only when it is in place.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor, nn

from stages.engines.trainer import Tables
from stages.store import attempts, partials
from stages.train import checkpoint
from stages.train.background import Background
from stages.train.checkpoint import Counters, Held
from stages.train.optimizer import Optimizer
from stages.train.ranks import Ranks
from stages.train.snapshot import Snapshot

WAITED, WRITTEN = "training_waited", "written"


def in_background(device: torch.device) -> bool:
    """Whether checkpoints are written while training goes on: on GPUs.

    There the copy takes memory of the host, which training does not use, and the writer a core that is idle. On a CPU
    it takes both from training: docs/guarantees.md says what was measured.
    """
    return device.type == "cuda"


class Checkpoints:
    """Writes checkpoints of one run. As a context, it ends with no checkpoint in flight."""

    def __init__(
        self,
        attempt: attempts.Attempt,
        modules: nn.ModuleDict,
        optimizer: Optimizer,
        tables: Tables,
        beside: Callable[[], Callable[[Path], None]],
        ranks: Ranks,
    ) -> None:
        """`beside` records what else a checkpoint says at this moment, and returns what writes it into a folder."""
        self._attempt, self._modules, self._optimizer = attempt, modules, optimizer
        self._tables, self._beside, self._ranks = tables, beside, ranks
        self._flight = Background()
        self._copies: tuple[Snapshot, ...] = ()
        self.seconds = {WAITED: 0.0, WRITTEN: 0.0}

    def save(self, folder: Path, counters: Counters, wait: bool, then: Callable[[], None] = lambda: None) -> None:
        """Write a checkpoint of this moment; with `wait`, it is in place when this returns. `then` follows it.

        First the one in flight is waited for, and what it raised is raised. Raises WriteError and LeaseError.
        """
        began = time.perf_counter()
        self._flight.wait()
        self._attempt.check()
        for table in self._tables.values():
            table.flush()
        tables, beside = {name: table.written for name, table in self._tables.items()}, self._beside()
        weights, shapes = self._modules.state_dict(), self._optimizer.shapes()
        state = self._optimizer.gather_state()
        if wait or not in_background(self._ranks.device):
            self._write(folder, Held(weights, shapes, state, counters, tables), beside, then)
        else:
            self._copies = self._copies or self._memory(weights, shapes)
            weights_there = self._copies[0].take(weights.items())
            copied = weights_there, self._copies[1].take(state, gathered=self._ranks.size > 1)
            copy = Held(copied[0], copied[1], None, counters, tables)
            self._flight.start(lambda: self._write(folder, copy, beside, then))
        self.seconds[WAITED] += time.perf_counter() - began

    def _memory(self, *states: Mapping[str, Tensor]) -> tuple[Snapshot, ...]:
        made = tuple(Snapshot(one, self._ranks.device) for one in states)
        if reason := next((one.unlocked for one in made if one.unlocked), ""):
            print(
                f"{self._attempt.ref}: this machine locks no memory for the GPU ({reason}), so training waits while "
                "the state is copied for a checkpoint, a few seconds for 10 GB. A higher `ulimit -l`, of the container "
                "or the job too, lets it go on meanwhile. No bit depends on it."
            )
        return made

    def check(self) -> None:
        """Raise what the checkpoint in flight has raised, if it has ended."""
        self._flight.check()

    def settle(self) -> None:
        """Return when no checkpoint is in flight."""
        self._flight.settle()

    def before_update(self) -> None:
        """Have a GPU finish the copies of the state before it is changed."""
        for copy in self._copies:
            copy.before_update()

    def _write(self, folder: Path, state: Held, beside: Callable[[Path], None], then: Callable[[], None]) -> None:
        began = time.perf_counter()
        for copy in self._copies:
            copy.wait()

        def fill(temporary: Path) -> None:
            checkpoint.save(temporary, state, self._attempt.result)
            beside(temporary)

        partials.save(folder, fill)
        then()
        self.seconds[WRITTEN] += time.perf_counter() - began

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        began = time.perf_counter()
        self._flight.__exit__(kind, error, trace)
        self.seconds[WAITED] += time.perf_counter() - began
        for copy in self._copies:
            copy.close()
