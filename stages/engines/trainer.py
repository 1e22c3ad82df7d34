"""What an engine has to give to a training stage: everything else is the same for all engines (`engines.training`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn

from stages.evals import Model
from stages.guards.phase_log import Rows
from stages.guards.report import BuiltReport, Digests, PairReport
from stages.spec.resolved_phases import Phase
from stages.store import attempts
from stages.train.checkpoint import Counters
from stages.train.metrics import Table
from stages.train.stepper import Stepper

Tables = Mapping[str, Table]  # metrics.csv, timing.csv and, where an engine takes them, checksums.csv
Beside = Callable[[], Callable[[Path], None]]  # records what else a checkpoint says; what it returns writes that


class Checkpoints(Protocol):
    """Writes checkpoints of one run, on the first rank; the others call `Trainer.join_checkpoint` at the same time."""

    seconds: dict[str, float]  # that training waited, and that writing took

    def save(self, folder: Path, counters: Counters, wait: bool, then: Callable[[], None] = lambda: None) -> None:
        """Write a checkpoint of this moment; with `wait`, it is in place when this returns. `then` follows it.

        Raises WriteError and LeaseError.
        """

    def check(self) -> None:
        """Raise what a checkpoint that is written meanwhile has raised."""

    def settle(self) -> None:
        """Return when no checkpoint is being written."""

    def before_update(self) -> None:
        """Called before the state is changed."""


class Trainer(Protocol):
    """A stage's modules and their optimizer. Every rank has one and calls its methods in the same order.

    What is made for the first rank alone is None, or nothing, on the others.
    """

    def evaluated(self) -> Model | None:
        """The model as it is now, for every rank that computes evaluations; the others wait. Before `begin` it is as
        the stage received it.
        """

    def begin(self) -> None:
        """Make ready to train, with the optimizer's state that the edges hand over."""

    def built(self) -> BuiltReport | None:
        """For the first rank: what is before step 1, read back from what was built."""

    def checksum_columns(self) -> tuple[str, ...]:
        """Columns of checksums.csv; none where its steps have no checksums."""

    def stepper(self, phase: Phase, rows: Rows) -> Stepper:
        """A phase's steps; `rows` are its data, of which every rank reads the whole step."""

    def broken(self) -> list[str]:
        """Names of tensors that are not finite, on any rank; the same on each."""

    def checkpoints(
        self, attempt: attempts.Attempt, tables: Tables, beside: Beside
    ) -> AbstractContextManager[Checkpoints]:
        """What writes checkpoints; the first rank alone calls this."""

    def join_checkpoint(self) -> None:
        """On the other ranks, while the first saves: give what they have of the state."""

    def load(self, folder: Path) -> Counters:
        """Take over a checkpoint of this stage. Raises UserError where it does not fit."""

    def state(self) -> tuple[Mapping[str, Tensor], Iterable[tuple[str, Tensor]]]:
        """The optimizer's state under the names that a child stage reads: types and shapes, and for the first rank one
        whole tensor after the other, in a file's order. All ranks have to come to the end of the second.
        """

    def trained(self) -> nn.ModuleDict | None:
        """For the first rank: the modules with the weights as they are now, as `stages.models` computes them."""

    def read_frozen(self) -> Mapping[str, Digests]:
        """For the first rank: digests of the models that are read besides those that are trained, as they are now."""

    def pair(self, rows: Rows) -> PairReport | None:
        """For the first rank: a pair of answers of the last step's `rows`, measured twice under the weights as they are
        now; None where no preferences are learned. All ranks call it.
        """

    def last_loss(self, rows: Rows) -> float:
        """Loss of some of the last step's `rows`, under the weights as they are now; 0 where there is no target.

        All ranks call it; those that have no part in it return 0.
        """


def exhaust(state: Iterable[tuple[str, Tensor]]) -> None:
    """On the ranks that do not write, while the first does: give it their parts of the optimizer's state."""
    for _ in state:
        raise AssertionError("a rank that does not write was given a tensor")
