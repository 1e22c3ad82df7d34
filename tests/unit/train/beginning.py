"""What a step needs: a stage's modules frozen as they are trained, its optimizer, and its first phase's objective."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from stages.contract import ledger
from stages.contract.ledger import Step
from stages.engines import torch_trainer
from stages.engines.torch_trainer import freeze
from stages.models.build import build
from stages.spec.resolved import Stage
from stages.train import objectives
from stages.train.optimizer import Optimizer
from stages.train.param_groups import trained_slots
from tests.unit.models.rows import documents
from tests.unit.train import tiny

CPU = torch.device("cpu")


def begin(stage: Stage, modules: nn.ModuleDict, device: torch.device = CPU) -> tuple[Optimizer, Any]:
    """The optimizer of freshly built modules, and the objective over samples that are made up from their numbers."""
    freeze(stage, modules)
    assert stage.optimizer is not None
    optimizer = Optimizer(stage.optimizer, trained_slots(modules, stage.trained, stage.optimizer))
    phase = stage.phases[0]
    data: Any = tiny.Data(phase, 0, "", None)
    beside = torch_trainer.frozen_copies(stage, modules)
    return optimizer, objectives.make(stage, phase, modules, data, device, frozen=beside)


def setting(stage: Stage) -> tuple[nn.ModuleDict, Optimizer, Any]:
    """Freshly built modules, their optimizer and the objective."""
    modules = build(stage)
    return modules, *begin(stage, modules)


def last_step(stage: Stage) -> Step:
    """The last step of a stage's first phase."""
    return list(ledger.steps(stage.phases[0]))[-1]


def rows(stage: Stage, step: Step) -> Iterator[tuple[Tensor, Tensor, Any, Tensor]]:
    """Tokens, positions and documents of each row of a step, [1, T], and its targets [T]."""
    samples = tiny.Data(stage.phases[0], 0, "", None).samples(step.first_sample, step.sequences, step.tail)
    for sample in samples:
        tokens, positions, segments = (
            torch.from_numpy(part)[None] for part in (sample.tokens, sample.positions, sample.segments)
        )
        yield tokens, positions, documents(segments), torch.from_numpy(sample.labels)
