"""From a stage's configuration to its model on this rank, by Bridge's provider and wrappers."""

from __future__ import annotations

import warnings
from typing import Any

from megatron.bridge.training.config import ConfigContainer
from megatron.core.distributed.finalize_model_grads import finalize_model_grads

from stages.engines.nemo import families
from stages.engines.nemo.config import config
from stages.engines.nemo.container import container
from stages.spec.resolved import Stage


def configured(stage: Stage) -> ConfigContainer:
    """The stage's configuration as Bridge's objects, checked by Bridge; of several phases, that of the first."""
    whole = container(config(stage, stage.phases[0]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Bridge announces what it will drop
        whole.validate()
    return whole


def build(stage: Stage, whole: ConfigContainer) -> list[Any]:
    """The chunks of the model that this rank has, wrapped for data parallelism; their weights are to be overwritten."""
    provider, chunks = whole.model, _chunks(stage, whole, trained=True)
    provider.finalize_model_grads_func = finalize_model_grads
    provider.no_sync_func = [chunk.no_sync for chunk in chunks] if len(chunks) > 1 else chunks[0].no_sync
    return chunks


def build_frozen(stage: Stage) -> list[Any]:
    """The same chunks of a model that is read alone, without gradients' buffers. Their weights are to be overwritten.

    Its parameters do take a gradient, if somebody asked for it: of others Core makes its products in another way, which
    rounds otherwise, and a policy that is its reference still would have a margin.
    """
    return [chunk.eval() for chunk in _chunks(stage, configured(stage), trained=False)]


def _chunks(stage: Stage, whole: ConfigContainer, trained: bool) -> list[Any]:
    provider = whole.model
    families.complete(stage, provider)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        chunks: list[Any] = provider.provide_distributed_model(
            whole.ddp, use_cpu_initialization=provider.use_cpu_initialization, data_parallel_random_init=False,
            wrap_with_ddp=trained,
        )  # fmt: skip
    return chunks
