"""What a micro-batch of preference training computes (`stages.train.objectives.preference` has the formulas).

Before a step's passes, the reference reads the step's own micro-batches by the same schedule, without a graph. Then
the policy does. -log p of an answer is a sum over its positions, which context-parallel ranks have in parts: it is
added up over them, in fp64. From there every rank knows d loss / d log p of each answer, and differentiates its own
positions by it, so no collective is in the backward pass.

Shapes: B rows, s positions of each on this rank, S answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from stages.data.loading.sample import Sample
from stages.engines.nemo import passes
from stages.engines.nemo.causal import Causal, Loss, Values
from stages.engines.nemo.context import own
from stages.engines.nemo.data import Answers, Micro
from stages.engines.nemo.routed import Routed
from stages.models.transfer import to_device
from stages.spec.resolved_phases import Phase
from stages.train.objectives.preference import answers, columns, of_losses


class Preference(Causal):
    """`Causal` that moves towards the chosen of two answers; a step's loss is the mean over its pairs."""

    def __init__(self, phase: Phase, *, reference: Sequence[Any]) -> None:
        """`reference`: this rank's chunks of the model that the stage received."""
        from megatron.core import parallel_state

        super().__init__(phase)
        if phase.preference is None or not reference:
            raise ValueError(f"phase {phase.name}: preference training without its settings or its reference")
        self._settings, self._reference = phase.preference, reference
        self._context = parallel_state.get_context_parallel_group()
        self._last = parallel_state.is_pipeline_last_stage(ignore_virtual=True)
        self._pairs = 0
        self.extras = (*self.extras, *columns(self._settings))

    def begin(self, samples: Sequence[Sample]) -> None:
        """Count the step's pairs. Raises UserError for an answer without a target."""
        super().begin(samples)
        self._pairs = sum(len(answers(sample)) for sample in samples) // 2

    def divisor(self, targets: int) -> int:
        """The pairs."""
        return max(self._pairs, 1)

    @torch.no_grad()
    def prepare(self, micros: list[Micro]) -> list[Micro]:
        """With their answers, and on the last pipeline stage what the reference says of them."""
        given = [replace(micro, answers=self._answers(micro)) for micro in micros]

        def forward(numbered: Iterator[tuple[int, Micro]], chunk: Any) -> Any:
            number, micro = next(numbered)
            nothing = torch.zeros((), device=micro.tokens.device)
            return self.call(chunk, micro, labels=micro.labels), lambda losses: (
                nothing, nothing.int(), (number, self._summed(losses, micro))
            )  # fmt: skip

        size, length = self._phase.micro_batch, self._phase.context
        found = passes.run(
            self._reference, forward, lambda: iter(enumerate(given)), len(given), size, length, backward=False
        )
        read = dict(found) if self._last else {}
        return [
            replace(micro, answers=replace(_of(micro), reference=read.get(number)))
            for number, micro in enumerate(given)
        ]

    def loss(self, micro: Micro) -> Loss:
        """What Core calls with the losses [B, s] of a micro-batch. Of what a whole answer comes to, one of the ranks
        that have a part of it counts.
        """
        here, settings, first = _of(micro), self._settings, self._context.rank() == 0

        def loss(losses: Tensor) -> tuple[Tensor, Tensor, Values]:
            with torch.no_grad():
                if here.reference is None:
                    raise AssertionError("a loss before the reference was read")
                found = of_losses(self._summed(losses, micro), here.reference, here.lengths, settings)
                weights = torch.cat([found.weights.flatten(), found.weights.new_zeros(1)]).float()[here.at]
                sums = torch.stack([found.loss.sum(), *found.measured(settings)]) * first
            linear = (losses.float() * weights).sum()
            pairs = torch.full_like(linear, len(found.loss) * first).int()
            values = torch.cat([sums[:1], micro.weights.sum()[None].double(), sums[1:]])
            return linear - linear.detach() + sums[0].float(), pairs, values

        return loss

    def values(self, loss: float, sums: Sequence[float]) -> list[float]:
        """The loss, what is known of the whole step already, and means over its pairs."""
        own = sums[: len(columns(self._settings))]
        return [*super().values(loss, ()), *(one / self.divisor(0) for one in own)]

    def _answers(self, micro: Micro) -> Answers:
        """Documents of a row are its answers, of which each has its prompt before it."""
        lengths = [answers(sample) for sample in micro.samples]
        starts = np.cumsum([0, *map(len, lengths)])
        count = int(starts[-1])
        rows = np.full(len(micro.segments), count, dtype=np.int64)
        rows[: len(lengths)] = starts[:-1]
        at = np.where(micro.segments.numpy() >= 0, rows[:, None] + micro.segments.numpy(), count)
        mine = own(torch.from_numpy(at), self._context.rank(), self._context.size()).contiguous()
        device = micro.tokens.device
        of_each = np.array([length for row in lengths for length in row], dtype=np.float64)
        placed = torch.where(micro.weights > 0, to_device(mine, device), count)
        return Answers(to_device(of_each, device), placed)

    def _summed(self, losses: Tensor, micro: Micro) -> Tensor:
        """-log p of each answer, fp64 [S], from the losses [B, s] of this rank's positions, on every rank."""
        here = _of(micro)
        total = torch.zeros(len(here.lengths) + 1, dtype=torch.float64, device=losses.device)
        total.index_add_(0, here.at.flatten(), losses.double().flatten())
        if self._context.size() > 1:
            dist.all_reduce(total, group=self._context)
        return total[:-1]


class RoutedPreference(Routed, Preference):
    """The same of a model with experts, whose router is kept balanced; the reference's routers count nothing."""


def _of(micro: Micro) -> Answers:
    if micro.answers is None:
        raise AssertionError("a micro-batch without its answers")
    return micro.answers
