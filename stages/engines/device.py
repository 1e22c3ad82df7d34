"""The device that a stage is run on."""

from __future__ import annotations

import os
import sys
import warnings

import torch

from stages.errors import UserError, page
from stages.models.ops import backend
from stages.spec.resolved import Stage

VISIBLE = "CUDA_VISIBLE_DEVICES"  # environment variable: which GPUs CUDA shows to a process


def of(stage: Stage) -> torch.device:
    """The stage's device. Raises UserError where it is not there, or something else is installed as NVIDIA's Apex.

    A user who wants NVIDIA's kernels should not train for a week without them because `pip install apex` went well.
    """
    if stage.execution.device == "cuda" and (lacking := _lacking()):
        raise UserError(
            f"{stage.ref}: found no GPU here that PyTorch can use ({lacking}); its scale asks for device cuda. "
            f"Run it on a machine that has one ({page('cluster')}), or at a scale for CPUs."
        )
    if (other := backend.other_apex()) is not None:
        if stage.execution.device == "cuda":
            raise UserError(f"{stage.ref}: {backend.refusal(other)}")
        print(f"{backend.refusal(other)} On a CPU it is not used.", file=sys.stderr)
    return torch.device(stage.execution.device)


def _lacking() -> str:
    """Why there is no GPU; "" where there is one. PyTorch says in a warning what CUDA's start met: an old driver."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        if torch.cuda.is_available():
            return ""
    if torch.version.cuda is None:
        return f"PyTorch {torch.__version__} is built without CUDA"
    if said:
        words = str(said[-1].message).removeprefix("CUDA initialization: ").partition(". ")[0]
        return f"{words}; PyTorch {torch.__version__} is built for CUDA {torch.version.cuda}"
    if (seen := os.environ.get(VISIBLE)) is not None:
        return f"{VISIBLE}={seen!r} names none that is here"
    return "no NVIDIA driver answers: `nvidia-smi`"
