"""The device that a stage is run on."""

from __future__ import annotations

import sys

import torch

from stages.errors import UserError, page
from stages.models.ops import backend
from stages.spec.resolved import Stage


def of(stage: Stage) -> torch.device:
    """The stage's device. Raises UserError where it is not there, or something else is installed as NVIDIA's Apex.

    A user who wants NVIDIA's kernels should not train for a week without them because `pip install apex` went well.
    """
    if stage.execution.device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            f"{stage.ref}: found no GPU here that PyTorch can use; its scale asks for device cuda. "
            f"Run it on a machine that has one ({page('cluster')}), or at a scale for CPUs."
        )
    if (other := backend.other_apex()) is not None:
        if stage.execution.device == "cuda":
            raise UserError(f"{stage.ref}: {backend.refusal(other)}")
        print(f"{backend.refusal(other)} On a CPU it is not used.", file=sys.stderr)
    return torch.device(stage.execution.device)
