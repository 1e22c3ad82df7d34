"""What a micro-batch of Ouro computes: losses after every loop, weighted by the probability of leaving there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from stages.contract import numbers
from stages.data.loading.sample import Sample
from stages.engines.nemo.causal import Causal, Head, Values
from stages.engines.nemo.data import Micro
from stages.engines.nemo.ouro import looped_loss
from stages.spec.resolved_phases import Phase
from stages.train.objectives.looped import Looped as Objective
from stages.train.objectives.looped import settings


class Looped:
    """A `Work`: Ouro always runs in loops, whatever the data is. Raises ValueError for a phase without `loops`."""

    def __init__(self, phase: Phase) -> None:
        self._loops, self._columns = settings(phase), Objective.columns(phase)
        self._text = Causal(phase)
        self.extras = (*self._columns, *self._text.extras)
        self._targets = 0

    def begin(self, samples: Sequence[Sample]) -> None:
        """Count the targets, by which the columns are divided."""
        self._text.begin(samples)
        self._targets = sum(sample.targets for sample in samples)

    def prepare(self, micros: list[Micro]) -> list[Micro]:
        """As they are."""
        return micros

    def divisor(self, targets: int) -> int:
        """The targets."""
        return self._text.divisor(targets)

    def forward(self, chunk: Any, micro: Micro) -> tuple[Any, Any]:
        """The model gives losses and gates [loops, B, s], and the loss is of both."""
        loops, beta = self._loops.count, numbers.value(self._loops.beta, None)
        output = chunk(micro.tokens, micro.positions, micro.segments, micro.labels, loops)

        def loss(found: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Values]:
            total, columns = looped_loss(*found, micro.weights, beta)
            count = micro.weights.sum()
            return total, count.int(), torch.cat([torch.stack([total.detach(), count]), columns])

        return output, loss

    def read(self, chunk: Any, micro: Micro, head: Head) -> Tensor:
        """Of the states after every loop."""
        found: Tensor = chunk(micro.tokens, micro.positions, micro.segments, micro.labels, self._loops.count, head=head)
        return found

    def values(self, loss: float, sums: Sequence[float]) -> list[float]:
        """The loss, and means over the step's targets; then what is known of the whole step already."""
        own = [one / max(self._targets, 1) for one in sums[: len(self._columns)]]
        _, *known = self._text.values(loss, sums[len(own) :])
        return [loss, *own, *known]

    def finish(self) -> None:
        """Nothing to do."""
