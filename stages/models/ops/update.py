"""One AdamW update, as the plain form and every kernel take it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Update:
    """`step` counts from 1, this one included. Gradients are multiplied by `factor` first, a number on their device."""

    step: int
    lr: float
    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    factor: Tensor | None
