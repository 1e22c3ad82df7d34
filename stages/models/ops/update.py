"""The numbers of one AdamW update, as the plain form and every kernel take them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Update:
    """`step` counts from 1, this one included; decay is no part of it."""

    step: int
    lr: float
    beta1: float
    beta2: float
    eps: float
