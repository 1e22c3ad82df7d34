"""The process groups of a stage: all ranks first, then Core's, which divide model and data between them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch.distributed as dist

from stages.engines import agreed
from stages.engines.place import Place
from stages.spec.resolved import Stage
from stages.train.meeting import PATIENCE
from stages.train.ranks import Ranks, joined


@contextmanager
def met(stage: Stage, here: Place) -> Iterator[Ranks]:
    """Meet the other ranks; Core's groups are there within the block. Raises UserError as `stages.train.ranks.joined`,
    and where ranks were given different stages or run different code.

    Core asks for a group of one rank too. Its own random state is that of every parallel region; nothing here draws.
    """
    count = stage.execution.ranks
    with _one(here) if count == 1 else joined(count, here.device, here.backend) as ranks:
        agreed.check(stage, ranks)
        _divide(stage)
        try:
            yield ranks
        finally:
            from megatron.core import parallel_state

            parallel_state.destroy_model_parallel()


@contextmanager
def _one(here: Place) -> Iterator[Ranks]:
    dist.init_process_group(here.backend, store=dist.HashStore(), rank=0, world_size=1, timeout=PATIENCE)
    try:
        yield Ranks(0, 1, here.device, here.backend)
    finally:
        dist.destroy_process_group()


def _divide(stage: Stage) -> None:
    from megatron.core import parallel_state
    from megatron.core.tensor_parallel.random import model_parallel_cuda_manual_seed

    how = stage.execution.parallel
    if how is None:
        raise ValueError(f"{stage.ref} says nothing about how its model is divided")
    parallel_state.initialize_model_parallel(
        tensor_model_parallel_size=how.tp,
        pipeline_model_parallel_size=how.pp,
        virtual_pipeline_model_parallel_size=how.vpp if how.vpp > 1 else None,
        context_parallel_size=how.cp,
        expert_model_parallel_size=how.ep,
        expert_tensor_parallel_size=1,
        distributed_timeout_minutes=int(PATIENCE.total_seconds() // 60),
        create_gloo_process_groups=False,
    )
    model_parallel_cuda_manual_seed(stage.seed)
