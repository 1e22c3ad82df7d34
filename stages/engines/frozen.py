"""Models that are read besides those that are trained: a stage's modules as it received them, and never moved.

They are copied from what the stage's parents handed over before any checkpoint is read, in every attempt: a run
that was killed, requeued or goes on elsewhere has the same ones.
"""

from __future__ import annotations

from copy import deepcopy

from torch import nn

from stages.spec.resolved import Stage


def beside(stage: Stage, received: nn.ModuleDict) -> nn.ModuleDict | None:
    """Copies of the modules that the stage's objectives read as received; None where they read none. They take no
    gradient.
    """
    if not stage.read_frozen:
        return None
    copies = nn.ModuleDict({name: deepcopy(received[name]) for name in stage.read_frozen})
    copies.requires_grad_(False)
    return copies.eval()
