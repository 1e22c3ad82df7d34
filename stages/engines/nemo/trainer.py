"""What the NeMo engine trains: a model of Megatron-Core's, divided over the ranks, from and to files under our names.

The parent is always read in Hugging Face form, whoever trained it, and the first rank gives what was trained back in
that form. Evaluations, before and after, are computed in Megatron's model, by all ranks (`divided`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stages.contract import ledger
from stages.engines import Inputs, readback
from stages.engines.nemo import (
    backward,
    checkpoint,
    copies,
    families,
    forward,
    frozen,
    names,
    pair_probe,
    provider,
    receiving,
    slope,
)  # fmt: skip
from stages.engines.nemo import readback as own
from stages.engines.nemo.config import config
from stages.engines.nemo.divided import Divided
from stages.engines.nemo.gathering import Gathering
from stages.engines.nemo.optimizer import Mover
from stages.engines.nemo.step import Steps
from stages.engines.trainer import Beside, Tables, exhaust
from stages.guards.phase_log import Rows
from stages.guards.report import BuiltReport, Digests, PairReport
from stages.models import build
from stages.models.ops.labels import IGNORED
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Phase
from stages.store import attempts
from stages.train.checkpoint import Counters
from stages.train.objectives.base import cut
from stages.train.optimizer import Optimizer
from stages.train.param_groups import trained_slots
from stages.train.ranks import Ranks


class NemoTrainer:
    """A `Trainer`. Megatron's model is built at once, since the stage is evaluated in it as received."""

    def __init__(self, stage: Stage, inputs: Inputs, ranks: Ranks, finished: bool = False) -> None:
        """With the weights that the stage receives, or with those of its `finished` result.

        Raises UserError where a parent or a released model is not what the stage needs.
        """
        self._stage, self._inputs, self._ranks = stage, inputs, ranks
        self._rules = names.rules(stage)
        meta = build.build(stage, "meta")
        self._weights = meta.state_dict(keep_vars=True)
        parameters = meta.named_parameters()
        self._trained = {name: one for name, one in parameters if name.partition(".")[0] in stage.trained}
        self._state = _state(stage, meta)
        self._chunks = provider.build(stage, provider.configured(stage))
        self._moved = Mover(stage, self._chunks)
        self._frozen: list[Any] = []
        self._other = self._gradients = ""  # in what the model computes, and its backward pass, than the torch engine's
        if finished:
            self.take_result()
        else:
            receiving.weights(stage, inputs, self._moved.owned, self._weights, ranks)

    def evaluated(self) -> Divided:
        """The model as all ranks have it."""
        return Divided(self._stage, self._chunks, self._ranks)

    def begin(self) -> None:
        """The moments that the edges hand over, of which the torch engine's optimizer says which there have to be; and
        what is read next to the model, from before a checkpoint is.

        Raises UserError for state that does not fit.
        """
        stage = self._stage
        self._frozen = frozen.beside(stage, self._chunks)
        receiving.state(stage, self._inputs, self._moved.owned, self._weights, self._state)

    def take_result(self) -> None:
        """Have the weights of the stage's finished result, to evaluate it again."""
        folder = self._inputs.layout.stage(self._stage.ref)
        receiving.result(self._stage, folder, self._moved.owned, self._weights)

    def built(self) -> BuiltReport | None:
        """What Megatron's objects contain, under our names, and the frequencies that they turn by."""
        stated, read = config(self._stage, self._stage.phases[0]), [*self._chunks, *self._frozen]
        own.check_fields(self._stage, stated, self._chunks, read, self._moved, self._ranks)
        modules, beside, state = self._gathered(), self.read_frozen(), self.state()[1]
        self._other = forward.difference(self._stage, modules, self._chunks, self._moved.owned, self._ranks)
        if not self._other:
            self._gradients = backward.difference(
                self._stage, modules, self._chunks, self._frozen, self._moved, self._gathering(), self._trained,
                self._ranks,
            )  # fmt: skip
        report = None
        if modules is not None:
            report = readback.built(self._stage, self._inputs, modules, self._moved, state, beside)
        else:
            exhaust(state)
        computed = frozen.expected(modules, self._moved.owned, self._ranks) if self._frozen else {}
        return own.completed(report, self._moved.owned, read, self._ranks, computed)

    def checksum_columns(self) -> tuple[str, ...]:
        """None: no step is promised to have the same bits again."""
        return ()

    def stepper(self, phase: Phase, rows: Rows) -> Steps:
        """The phase on this model, as the model's family computes it.

        Raises WrongGradientsError, and OtherModelError: only here, since the guards' findings name a cause.
        """
        if self._other:
            raise forward.OtherModelError(f"{self._other} Nothing was trained.")
        slope.check(self._stage, phase, self._chunks, self._frozen, self._moved, rows, self._ranks)
        if self._gradients:
            raise slope.WrongGradientsError(self._gradients)
        work = families.training(self._stage, phase, self._chunks, self._frozen)
        return Steps(self._stage, phase, self._chunks, self._moved, work, rows, self._ranks)

    @torch.no_grad()
    def broken(self) -> list[str]:
        """Of weights, gradients' main copies, buffers and moments, each under our name.

        With deterministic kernels, raises DifferentCopiesError too: with others ranks may round each in its own way.
        """
        found = set()
        for one in self._moved.owned:
            kinds = {"": one.main, **{f".{name}": value for name, value in one.state.items() if value.ndim}}
            for kind, tensor in kinds.items():
                if not bool(tensor.isfinite().all()):
                    found |= {f"{target}{kind}" for target in one.placed.targets}
        everywhere = sorted({name for theirs in self._ranks.values(sorted(found)) for name in theirs})
        if self._stage.execution.exact and not everywhere:
            copies.check(self._stage.ref, self._moved.owned, self._ranks)
        return everywhere

    def checkpoints(
        self, attempt: attempts.Attempt, tables: Tables, beside: Beside
    ) -> AbstractContextManager[checkpoint.Checkpoints]:
        """Of Core's model and optimizer, each rank its own part. Nothing is left open."""
        owned = self._moved.owned
        return nullcontext(checkpoint.Checkpoints(attempt, self._chunks, owned, tables, beside, self._ranks))

    def join_checkpoint(self) -> None:
        """Write this rank's part where the first rank says."""
        checkpoint.join(self._chunks, self._moved.owned, self._ranks)

    def load(self, folder: Path) -> Counters:
        """Every rank reads its own part, also of a checkpoint of another layout."""
        return checkpoint.load(folder, self._chunks, self._moved.owned, self._ranks)

    def state(self) -> tuple[Mapping[str, Tensor], Iterable[tuple[str, Tensor]]]:
        """Gathered from all ranks, under the torch engine's names."""
        return self._state, self._gathering().state(self._state)

    def trained(self) -> nn.ModuleDict | None:
        """The torch engine's modules on the host, filled from all ranks.

        Raises OtherModelError, on all ranks, where these compute something else than the model that was trained.
        """
        modules = self._gathered()
        if other := forward.difference(self._stage, modules, self._chunks, self._moved.owned, self._ranks):
            raise forward.OtherModelError(f"{other} The result was not saved; the last checkpoint is kept.")
        return modules

    def read_frozen(self) -> Mapping[str, Digests]:
        """Of the reference of preference training, gathered from all ranks."""
        if not self._frozen:
            return {}
        return frozen.digests(self._frozen, self._rules, self._weights, self._ranks)

    def pair(self, rows: Rows) -> PairReport | None:
        """By the phase's work and by both models' evaluations, on all ranks."""
        return pair_probe.probe(self._stage, self._chunks, self._frozen, self._moved, rows, self._ranks)

    def last_loss(self, rows: Rows) -> float:
        """Of the first micro-batch of the last step that has a target: the mean over its targets, and over loops."""
        phase, model = self._stage.phases[-1], self.evaluated()
        step = ledger.step_at(phase, phase.budget - 1)
        samples = rows.samples(step.first_sample, step.sequences, step.tail)
        parts = [samples[one.start : one.stop] for one in cut(len(samples), phase.micro_batch)]
        chosen = next((part for part in parts if any((one.labels != IGNORED).any() for one in part)), [])
        with model.evaluating():
            found = [one for by_loop, _ in model.losses(chosen, phase) for one in by_loop]
        return float(torch.cat(found).mean()) if found else 0.0

    @torch.no_grad()
    def _gathered(self) -> nn.ModuleDict | None:
        """The torch engine's modules on the host, filled a tensor at a time; on the other ranks None."""
        modules, places = None, dict[str, Tensor]()
        if self._ranks.first:
            modules = build.build(self._stage, "meta").to_empty(device="cpu")
            for buffer in modules.buffers():  # those that no file has
                buffer.zero_()
            places = modules.state_dict()
        for name, tensor in self._gathering().weights(self._weights):
            places[name].copy_(tensor)
        return modules

    def _gathering(self) -> Gathering:
        return Gathering(self._moved.owned, self._rules, self._ranks)


def _state(stage: Stage, modules: nn.ModuleDict) -> dict[str, Tensor]:
    """Names and shapes of the optimizer's state: those of the torch engine's optimizer on the same modules."""
    if stage.optimizer is None:
        raise ValueError(f"{stage.ref} has phases but no optimizer")
    return dict(Optimizer(stage.optimizer, trained_slots(modules, stage.trained, stage.optimizer)).shapes())
