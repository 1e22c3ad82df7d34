"""The device that a stage is run on."""

from __future__ import annotations

import torch

from stages.errors import UserError
from stages.spec.resolved import Stage


def of(stage: Stage) -> torch.device:
    """The stage's device. Raises UserError where it is not there."""
    if stage.execution.device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            f"{stage.pipeline}/{stage.name}: found no GPU here that PyTorch can use; its scale asks for device cuda. "
            "Run it on a machine that has one (docs/cluster.md), or at a scale for CPUs."
        )
    return torch.device(stage.execution.device)
