"""What the torch engine trains: every rank has the whole model, and its part of the optimizer's state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from pathlib import Path

from torch import Tensor, nn

from stages.engines import Inputs, last_pass, pair_probe, readback, received
from stages.engines.checkpoints import Checkpoints
from stages.engines.trainer import Beside, Tables, exhaust
from stages.evals import Model, Whole
from stages.guards.phase_log import Rows
from stages.guards.report import BuiltReport, Digests, PairReport
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Phase
from stages.store import attempts
from stages.train import alike, checkpoint, finite, objectives, resumed, state_sums
from stages.train.alike import Alike
from stages.train.checkpoint import Counters
from stages.train.optimizer import AVERAGE, Optimizer
from stages.train.param_groups import trained_slots
from stages.train.ranks import Ranks
from stages.train.replicated import Replicated
from stages.train.state_sums import StateSums, columns


class TorchTrainer:
    """A `Trainer`: the modules that a stage receives are those that it trains."""

    def __init__(self, stage: Stage, inputs: Inputs, ranks: Ranks) -> None:
        """Raises UserError where a parent or a released model is not what the stage needs."""
        self._stage, self._inputs, self._ranks = stage, inputs, ranks
        self._modules = received.receive(stage, inputs, ranks.device, ranks)
        self._frozen = frozen_copies(stage, self._modules)  # before anything of a checkpoint is read
        self._optimizer: Optimizer

    def evaluated(self) -> Model | None:
        """The modules themselves, on the first rank."""
        return Whole(self._stage, self._modules) if self._ranks.first else None

    def begin(self) -> None:
        """Freeze what is not trained, and make the optimizer. Raises UserError where inherited state does not fit."""
        freeze(self._stage, self._modules)
        self._optimizer = optimizer(self._stage, self._inputs, self._modules, self._ranks)

    def built(self) -> BuiltReport | None:
        """Read back from the modules and the optimizer. Raises DifferentRanksError for ranks with other weights."""
        self._check_copies(" as received", alike.FILES)
        if not self._ranks.first:
            self.join_checkpoint()
            return None
        state = self._optimizer.gather_state()
        beside = self.read_frozen()
        return readback.built(self._stage, self._inputs, self._modules, self._optimizer, state, beside)

    def checksum_columns(self) -> tuple[str, ...]:
        """Of every tensor that a step computes with, where equal bits are promised."""
        return columns(self._modules, self._optimizer, self._ranks) if self._stage.execution.exact else ()

    def stepper(self, phase: Phase, rows: Rows) -> Replicated:
        """The phase's objective on these modules."""
        sums = compared = None
        exact, several = self._stage.execution.exact, self._ranks.size > 1
        if exact or several:
            rows = digests = state_sums.Digests(rows)
            if exact:  # otherwise the same step may have other bits
                sums = StateSums(self._modules, self._optimizer, digests, self._ranks)
            if several:
                compared = Alike(f"{self._stage.ref}, phase {phase.name}", self._optimizer, digests, self._ranks)
        objective = objectives.make(
            self._stage, phase, self._modules, rows, self._ranks.device, self._ranks, self._frozen
        )
        return Replicated(self._optimizer, objective, self._ranks, sums, compared)

    def broken(self) -> list[str]:
        """Of weights, buffers and every rank's part of the optimizer's state.

        Raises DifferentRanksError where all are finite, and ranks have other ones.
        """
        found = finite.broken_tensors({**self._modules.state_dict(), **self._optimizer.state()}, self._ranks)
        if not found:
            self._check_copies("", alike.MEMORY)
        return found

    def checkpoints(self, attempt: attempts.Attempt, tables: Tables, beside: Beside) -> Checkpoints:
        """Of the modules and the optimizer."""
        return Checkpoints(attempt, self._modules, self._optimizer, tables, beside, self._ranks)

    def join_checkpoint(self) -> None:
        """Give the first rank this one's part of the optimizer's state."""
        exhaust(self._optimizer.gather_state())

    def load(self, folder: Path) -> Counters:
        """Every rank reads its own part. Raises DifferentRanksError where what they read is not one checkpoint."""
        counters = checkpoint.load(folder, self._modules, self._optimizer, self._stage.trained)
        resumed.check(folder, counters, self._optimizer, self._ranks)
        self._check_copies(f", resumed from {folder}", alike.FILES)
        return counters

    def _check_copies(self, when: str, advice: str) -> None:
        """Of all that every rank has whole: weights, buffers, the models that are read as received."""
        frozen = {} if self._frozen is None else self._frozen.state_dict(prefix="frozen ")
        whole = self._modules.state_dict() | frozen
        alike.check_copies(f"{self._stage.ref}{when}", whole, self._ranks, advice)

    def state(self) -> tuple[Mapping[str, Tensor], Iterable[tuple[str, Tensor]]]:
        """Gathered from all ranks."""
        return self._optimizer.shapes(), self._optimizer.gather_state()

    def trained(self) -> nn.ModuleDict | None:
        """The modules themselves."""
        return self._modules if self._ranks.first else None

    def read_frozen(self) -> Mapping[str, Digests]:
        """Of the copies that were made of what the stage received."""
        return readback.weights(self._frozen) if self._ranks.first and self._frozen is not None else {}

    def pair(self, rows: Rows) -> PairReport | None:
        """The objective's, and that of both models' log-probabilities, on the first rank."""
        return pair_probe.probe(self._stage, self._modules, self._frozen, rows) if self._ranks.first else None

    def last_loss(self, rows: Rows) -> float:
        """The objective's, on the first rank."""
        return last_pass.loss(self._stage, self._modules, rows, self._frozen) if self._ranks.first else 0.0


def optimizer(stage: Stage, inputs: Inputs, modules: nn.ModuleDict, ranks: Ranks) -> Optimizer:
    """On the trained modules, with the state that they inherit. Raises UserError where that does not fit."""
    if stage.optimizer is None:
        raise ValueError(f"{stage.ref} has phases but no optimizer")
    made = Optimizer(stage.optimizer, trained_slots(modules, stage.trained, stage.optimizer), ranks)
    state = received.inherited_state(stage, inputs)
    for name in stage.trained:
        init = stage.init[name]
        if init.optimizer == "inherit" and init.parent is not None:
            there = any(key.startswith(f"{name}.") and key.endswith(f".{AVERAGE}") for key in state)
            made.load(state if there else state | made.averages(), name, init.parent)
    return made


def freeze(stage: Stage, modules: nn.ModuleDict) -> None:
    """What is not trained takes no gradient and counts nothing (evaluation mode)."""
    for name, module in modules.items():
        module.train(name in stage.trained)
        module.requires_grad_(name in stage.trained)


def frozen_copies(stage: Stage, received: nn.ModuleDict) -> nn.ModuleDict | None:
    """Copies of the modules that the stage's objectives read as received; None where they read none. They take no
    gradient.

    They are made of what the stage's parents handed over before any checkpoint is read, in every attempt: a run that
    was killed, requeued or goes on elsewhere has the same ones.
    """
    if not stage.read_frozen:
        return None
    copies = nn.ModuleDict({name: deepcopy(received[name]) for name in stage.read_frozen})
    copies.requires_grad_(False)
    return copies.eval()
