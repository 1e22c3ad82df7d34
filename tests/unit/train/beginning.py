"""What a step needs: a stage's modules frozen as they are trained, its optimizer, and its first phase's objective."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from stages.engines import torch_trainer
from stages.engines.torch_trainer import freeze
from stages.spec.resolved import Stage
from stages.train import objectives
from stages.train.optimizer import Optimizer
from stages.train.param_groups import trained_slots
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
