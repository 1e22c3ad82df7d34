"""One phase's steps on this engine: Core's schedules and collectives, our rows, our normalisation, our finite check."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from stages.contract.ledger import Step
from stages.data.loading.sample import Sample
from stages.engines.nemo import copies, data, passes, updates
from stages.engines.nemo.causal import Work, inner
from stages.engines.nemo.data import Micro, Share
from stages.engines.nemo.optimizer import Mover
from stages.guards.phase_log import Rows
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Phase
from stages.train.objectives.causal import supervised
from stages.train.prefetch import Prefetch
from stages.train.ranks import Ranks


class Steps:
    """A `Stepper` of Core's model. Gradients are sums over all of a step's targets, divided by their number (or that of
    pairs of answers): Core does so where `calculate_per_token_loss` is set, whatever the number of replicas or
    micro-batches.
    """

    def __init__(
        self, stage: Stage, phase: Phase, chunks: list[Any], moved: Mover, work: Work, rows: Rows, ranks: Ranks
    ) -> None:
        self._stage, self._phase, self._chunks, self._rows, self._ranks = stage, phase, chunks, rows, ranks
        self.moved, self.work, self._share = moved, work, Share.here()
        self._share.check(inner(chunks[0]).pg_collection.cp.rank(), ranks)
        self._ahead = Prefetch(self._read, phase, ranks.device)
        self.extras = work.extras
        self._supervised = 0
        self._checked = 0  # updates of this phase
        trained = [one for one in moved.owned if one.trained]
        self._shortest = min(trained, key=lambda one: one.tensor.numel()) if trained else None

    def gradients(self, step: Step) -> list[float]:
        """Forward and backward passes of the step's micro-batches, sums over the ranks, the norm, the clip.

        Raises UserError for a step without an answer to learn from, and AssertionError where Core counted other targets
        than the rows have.
        """
        samples = self._ahead.take(step)
        self._supervised = supervised(samples, self._phase, step)
        mean, *extras = self._values(samples, self._supervised, backward=True)
        norm = self.moved.clip()
        copies.check_step(self._stage.ref, norm, data.checksum(samples), self._ranks)
        return [mean, norm, *extras]

    def measured(self, samples: Sequence[Sample]) -> dict[str, float]:
        """The metric columns that a step of these rows has beyond the common ones, by forward passes alone."""
        _, *extras = self._values(samples, sum(one.targets for one in samples), backward=False)
        return dict(zip(self.extras, extras, strict=True))

    def differentiate(self, samples: Sequence[Sample]) -> None:
        """Have these rows' gradients in Megatron's buffers."""
        self._values(samples, sum(one.targets for one in samples), backward=True)

    def update(self, lr: float, clock: int) -> None:
        """Move the parameters; then what follows a step in the model's family. No other schedule is read (I-45).

        Raises WrongUpdateError where one of the first is another than the spec's.
        """
        given = self._stage, self._phase, self.moved, self._chunks, lr, self._ranks
        with updates.checked(*given) if self._checked < updates.FIRST_ONES else nullcontext():
            self.moved.step(lr)
            self.work.finish()
        self._checked += 1

    def supervised(self) -> int:
        """Targets of the step."""
        return self._supervised

    def checksums(self) -> Mapping[str, str]:
        """None: a step of this engine is not promised to have the same bits again."""
        return {}

    def close(self) -> None:
        """End what reads the next step's rows."""
        self._ahead.close()

    def _read(self, step: Step) -> list[Sample]:
        """All of a step's rows, on every rank: thousands of short ones take a good part of a step's time."""
        return self._rows.samples(step.first_sample, step.sequences, step.tail)

    def _values(self, samples: Sequence[Sample], targets: int, backward: bool) -> list[float]:
        """The rows' loss and extra columns; with `backward`, their gradients are in Megatron's buffers."""
        self.work.begin(samples)
        micros = self.work.prepare(data.micro_batches(samples, self._phase, self._share, self._ranks.device))
        if backward:
            for chunk in self._chunks:
                chunk.zero_grad_buffer()
            self.moved.zero()
            if self._shortest is not None and bool(self._shortest.gradients.any()):
                raise AssertionError(f"{self._shortest.placed.key} has a gradient before any pass of this step")
        loss, count, *sums = self._summed(self._pass(micros, backward))
        if count != targets:
            raise AssertionError(f"{count:g} targets were computed, the rows have {targets}")
        return self.work.values(loss / self.work.divisor(targets), sums)

    def _pass(self, micros: list[Micro], backward: bool) -> list[Tensor]:
        """What the loss function gave for each micro-batch; nothing but on the last pipeline stage."""

        def forward(micro: Iterator[Micro], chunk: Any) -> Any:
            return self.work.forward(chunk, next(micro))

        size, length = self._phase.micro_batch, self._phase.context
        return passes.run(self._chunks, forward, lambda: iter(micros), len(micros), size, length, backward)

    def _summed(self, values: list[Tensor]) -> list[float]:
        """Over micro-batches and ranks: those of the last pipeline stage, once for each group of tensor parallelism."""
        from megatron.core import parallel_state as state

        counts = state.is_pipeline_last_stage(ignore_virtual=True) and state.get_tensor_model_parallel_rank() == 0
        size = len(self.work.extras) + 2
        total = torch.zeros(size, dtype=torch.float64, device=self._ranks.device)
        for one in values if counts else ():
            total[: len(one)] += one.double()
        dist.all_reduce(total)
        return [float(number) for number in total.tolist()]
