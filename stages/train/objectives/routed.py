"""Next-token loss of a model with experts: balanced by bias (arXiv 2408.15664) and a small auxiliary loss.

As Moonlight trains it (arXiv 2502.16982, appendix C, and MoonshotAI/Moonlight issue 21): the auxiliary loss belongs
to a logical micro-batch; the biases move once a step, by the counts of the whole step, which are integers, so that
their sum has no order.

Shapes: L layers with experts, E experts.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from stages.contract import numbers
from stages.contract.ledger import Step
from stages.train.objectives.base import precision
from stages.train.objectives.causal import Causal


class Routed(Causal):
    """`Causal` with a router that is kept balanced."""

    own = ("aux_loss", "overload")

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        if self.phase.router is None:
            raise ValueError(f"phase {self.phase.name}: a model with experts is trained without `router`")
        self._router = self.phase.router
        self._counts = torch.zeros(0)

    def begin(self, step: Step) -> int:
        """Read the step's data and start counting again."""
        self.lm.reset_router_counts()
        return super().begin(step)

    def part(self, index: int) -> tuple[Tensor, list[Tensor]]:
        """Cross entropy plus the weighted auxiliary loss, averaged over the micro-batches by their rows."""
        with precision(self.stage):
            rows = self.rows(index)
            cross = self.loss(rows) / self.divisor
            aux = self.lm.aux_loss() * (len(rows.labels) / len(self._samples))
        overload = torch.zeros((), device=self.device)  # known once the step is done
        return cross + numbers.value(self._router.aux_loss, self.clock) * aux, [aux.detach(), overload, *self.later()]

    def whole_values(self) -> dict[str, Tensor]:
        """`overload`, the load of the fullest expert over the mean, averaged over layers; and what `Causal` counts."""
        self._counts = self.ranks.count(self.lm.router_counts())
        counts_LE = self._counts.double()
        overload = (counts_LE.amax(1) / counts_LE.mean(1)).mean().float()
        return {"overload": overload, **super().whole_values()}

    def finish(self) -> None:
        """Move the biases by the step's counts."""
        if rate := numbers.value(self._router.bias_update, self.clock):
            self.lm.update_router_bias(self._counts, rate)
