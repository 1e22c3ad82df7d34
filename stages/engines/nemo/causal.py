"""What a micro-batch of a plain language model computes: summed cross entropy of its targets, and their number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

from stages.data.loading.sample import Sample
from stages.engines.nemo.data import Micro
from stages.spec.resolved_phases import Phase
from stages.train.objectives.causal import by_kind, replay_columns

Values: TypeAlias = Tensor
"""[2 + n]: summed loss, number of targets, then the sums of the extra columns that micro-batches add up to."""

Loss = Callable[[Tensor], tuple[Tensor, Tensor, Values]]
"""Core's loss function: from a model's output to the loss to differentiate, how much this adds to what gradients are
divided by (targets, or pairs), the values.
"""


Head = Callable[[Tensor, Tensor], Tensor]
"""What an evaluation makes of the last normed states [s, B, H] and a rank's part of the output matrix [V / tp, H]."""


class Work(Protocol):
    """What one family computes in a phase; one for each phase. Every rank makes the same calls."""

    extras: tuple[str, ...]  # metric columns beyond the common ones, in the order of `values` behind the loss

    def begin(self, samples: Sequence[Sample]) -> None:
        """A step begins; `samples` are all of its rows, on every rank."""

    def forward(self, chunk: Any, micro: Micro) -> tuple[Tensor, Loss]:
        """One micro-batch through a chunk of the model: its output, and the loss of that on the last pipeline stage."""

    def read(self, chunk: Any, micro: Micro, head: Head) -> Tensor:
        """A micro-batch's forward pass without a loss: [loops, ...], what the head makes of the states after each loop
        (once, without loops), on the last pipeline stage.
        """

    def prepare(self, micros: list[Micro]) -> list[Micro]:
        """This rank's micro-batches of the step, with what else their losses need."""

    def divisor(self, targets: int) -> int:
        """What the step's loss is a mean over, of so many targets: Core divides the gradients by it too."""

    def values(self, loss: float, sums: Sequence[float]) -> list[float]:
        """The whole step's loss and its extra columns, the same on every rank.

        `loss` is the mean, `sums` are those of `Values` from the third on, over all ranks.
        """

    def finish(self) -> None:
        """The optimizer has moved: do what follows a step."""


class Causal:
    """Next-token cross entropy, on text or on answers: which positions count is in the data."""

    def __init__(self, phase: Phase) -> None:
        self._phase = phase
        self.extras = replay_columns(phase)
        self._counted = dict.fromkeys(self.extras, 0)

    def begin(self, samples: Sequence[Sample]) -> None:
        """Count targets of answers and of replayed text, where a phase has both."""
        if self._counted:
            self._counted = by_kind(samples, self._phase.replayed)

    def prepare(self, micros: list[Micro]) -> list[Micro]:
        """As they are."""
        return micros

    def divisor(self, targets: int) -> int:
        """The targets; a step without any has loss 0."""
        return max(targets, 1)

    def forward(self, chunk: Any, micro: Micro) -> tuple[Tensor, Loss]:
        """A GPTModel gives the loss at each position [B, s], or what the next pipeline stage takes."""
        return self.call(chunk, micro, labels=micro.labels), self.loss(micro)

    def read(self, chunk: Any, micro: Micro, head: Head) -> Tensor:
        """Core hands the last stage's states to whoever asks for them."""

        def last(hidden_states: Tensor, output_layer: Any, output_weight: Tensor | None, **_: Any) -> Tensor:
            return head(hidden_states, output_layer.weight if output_weight is None else output_weight)[None]

        return self.call(chunk, micro, output_processor=last)

    def call(self, chunk: Any, micro: Micro, **more: Any) -> Tensor:
        """A chunk's output for a micro-batch."""
        output: Tensor = chunk(micro.tokens, micro.positions, micro.segments, **more)
        return output

    def loss(self, micro: Micro) -> Loss:
        """What Core calls with the losses [B, s] of a micro-batch."""

        def loss(losses: Tensor) -> tuple[Tensor, Tensor, Values]:
            total = (losses.float() * micro.weights).sum()
            count = micro.weights.sum()
            return total, count.int(), torch.stack([total.detach(), count])

        return loss

    def values(self, loss: float, sums: Sequence[float]) -> list[float]:
        """The counts are known of the whole step already."""
        return [loss, *map(float, self._counted.values())]

    def finish(self) -> None:
        """Nothing to do."""


def inner(chunk: Any) -> Any:
    """The model inside the wrappers of data parallelism and of bf16."""
    while hasattr(chunk, "module"):
        chunk = chunk.module
    return chunk
