"""Where a finished result's modules are while they are evaluated again.

The torch engine evaluates what it has, where it is. Modules that the NeMo engine trained are read in fp32 into the
host's memory: 66 GB of a Kimi-VL, beside which nothing else fits on a GPU. While they are evaluated the GPU has copies,
in bf16 of the matrices that products read in bf16 anyway, so no number changes. Never executed on a GPU; traced on fake
tensors.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from stages.engines import device
from stages.spec.resolved import Stage
from stages.spec.resolved_models import LANGUAGE_MODELS
from stages.spec.resolved_parallel import computes_in_bf16
from stages.train.ranks import CPU

LAYERS, MATRICES = "model.layers.", ("_proj", "_proj.weight", "_proj_with_mqa.weight")  # of a language model


def kept_on(stage: Stage) -> torch.device:
    """The device that whole modules are made on."""
    return device.of(stage) if stage.execution.parallel is None else CPU


@contextmanager
def evaluated(stage: Stage, modules: nn.ModuleDict) -> Iterator[None]:
    """Within the block the modules are on the stage's device, in the precision that products read them in."""
    if kept_on(stage) == device.of(stage):
        yield
        return
    with copied(stage, modules, device.of(stage)):
        yield


@contextmanager
def copied(stage: Stage, modules: nn.ModuleDict, where: torch.device) -> Iterator[None]:
    """Within the block the modules' tensors are copies on a device; afterwards they are those that they were."""
    bf16 = computes_in_bf16(stage.engine_class)
    before: list[tuple[Tensor, Tensor]] = []
    try:
        for name, module in modules.items():
            half = halved(module) if bf16 and stage.modules[name].family in LANGUAGE_MODELS else set()
            for key, tensor in (*module.named_parameters(), *module.named_buffers()):
                before.append((tensor, tensor.data))
                tensor.data = tensor.data.to(where, torch.bfloat16 if key in half else tensor.dtype)
        yield
    finally:
        for tensor, data in before:
            tensor.data = data


def halved(module: nn.Module) -> set[str]:
    """Names of a language model's matrices that products read in bf16: those of its layers, but for routers'."""
    return {
        name
        for name, parameter in module.named_parameters()
        if name.startswith(LAYERS) and parameter.ndim > 1 and name.endswith(MATRICES)
    }
