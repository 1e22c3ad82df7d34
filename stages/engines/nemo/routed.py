"""A model with experts: next-token loss, the balance loss, and a bias that moves once a step (`stages.models.moe`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from megatron.core import parallel_state
from torch import Tensor

from stages.contract import numbers
from stages.data.loading.sample import Sample
from stages.engines.nemo import router, vision
from stages.engines.nemo.causal import Causal, inner
from stages.engines.nemo.context import own
from stages.engines.nemo.data import Micro
from stages.models.transfer import to_device
from stages.spec.resolved_phases import Phase
from stages.train.objectives.routed import Routed as Torch


class Routed(Causal):
    """`Causal` with routers that are kept balanced, as `stages.train.objectives.routed` keeps them."""

    def __init__(self, phase: Phase, chunks: Sequence[Any], **more: Any) -> None:
        super().__init__(phase, **more)
        if phase.router is None:
            raise ValueError(f"phase {phase.name}: a model with experts is trained without `router`")
        self._aux, self._rate = (numbers.value(one, None) for one in (phase.router.aux_loss, phase.router.bias_update))
        self._routers = router.routers(chunks)
        self.extras = (*Torch.own, *self.extras)
        self._device = next(chunks[0].parameters()).device
        self._counts = torch.zeros(0, 0)

    def begin(self, samples: Sequence[Sample]) -> None:
        """Start counting again."""
        super().begin(samples)
        supervised = sum(sample.targets for sample in samples)
        for one in self._routers:
            one.begin(self._aux, len(samples), self.divisor(supervised))

    def call(self, chunk: Any, micro: Micro, **more: Any) -> Tensor:
        """As `Causal`; padding is passed to the routers, which do not count it."""
        return super().call(chunk, micro, padding_mask=padding(micro), **more)

    def values(self, loss: float, sums: Sequence[float]) -> list[float]:
        """The loss with the balance loss, that loss itself, and the load of the fullest expert over the mean."""
        whole = parallel_state.get_tensor_and_data_parallel_group(with_context_parallel=True)
        self._counts = router.step_counts(self._routers, whole)
        counts = self._counts.to(self._device, torch.float64)  # a stage without routers has none of them anywhere
        fullest = (counts.amax(1) / counts.mean(1)).sum() if len(counts) else counts.sum()
        balance = sum((one.aux_loss for one in self._routers), torch.zeros((), device=counts.device)).double()
        dist.all_reduce(balance, group=whole)
        figures = torch.stack([balance, fullest, torch.full_like(fullest, len(counts))])
        dist.all_reduce(figures, group=parallel_state.get_pipeline_model_parallel_group())
        aux, overload, layers = figures.tolist()
        _, *counted = super().values(loss, sums)
        return [loss + self._aux * aux, aux, overload / layers, *counted]

    def finish(self) -> None:
        """Move the biases by the step's counts."""
        if self._rate:
            router.update_bias(self._routers, self._counts, self._rate)


class Joint(Routed):
    """`Routed` with images in the stream: the joint stages of Kimi-VL. On text alone the tower does not run."""

    def call(self, chunk: Any, micro: Micro, **more: Any) -> Tensor:
        """As `Routed`; the first pipeline stage begins with what `vision.embed` makes."""
        model = inner(chunk)
        begin = vision.embed(model, micro) if model.pre_process else None
        return super().call(chunk, micro, decoder_input=begin, **more)


def padding(micro: Micro) -> Tensor:
    """Where this rank's share of the rows [B, s] is filling, bool."""
    ranks = parallel_state.get_context_parallel_group()
    here = own(micro.segments < 0, ranks.rank(), ranks.size())
    return to_device(here.contiguous(), micro.tokens.device)
