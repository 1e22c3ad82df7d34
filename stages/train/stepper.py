"""What the loop asks of an engine at each step: gradients, then an update. Budgets, learning rates, stops and checks of
what is finite are the loop's, the same for every engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from stages.contract.ledger import Step


class Stepper(Protocol):
    """One phase on an engine. All ranks call all methods but `supervised`, `checksums`, `close` at the same time."""

    extras: tuple[str, ...]  # metric columns beyond the common ones, in the order of `gradients`

    def gradients(self, step: Step) -> list[float]:
        """Compute the whole step's gradients and what clips them; move nothing. The same numbers on every rank.

        Returns the loss (mean over the step's targets, nats), the norm of all gradients before the clip, the extras.
        """

    def update(self, lr: float, clock: int) -> None:
        """Move the parameters by the gradients of the last call, at this learning rate; other numbers are what their
        schedules say at the clock.
        """

    def supervised(self) -> int:
        """How many targets the step's loss was divided by."""

    def checksums(self) -> Mapping[str, str]:
        """Of what the last step computed with, by name (`train.state_sums`); empty where none were taken."""

    def close(self) -> None:
        """End what prepares the steps' data; no step begins after this."""
