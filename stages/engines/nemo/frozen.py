"""The reference of preference training: Core's model a second time, divided as the one that is trained.

Its weights are copied from the model's before a checkpoint is read, in every attempt, in the types that the model
computes with: under bf16 those are bf16, as the policy's are when it is the reference still. It has no gradients, no
fp32 copies and no part in a checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from stages.engines import readback
from stages.engines.nemo import local, provider
from stages.engines.nemo.causal import inner
from stages.engines.nemo.gathering import Gathering
from stages.engines.nemo.layout import Rules
from stages.engines.nemo.local import Owned, in_bf16
from stages.engines.nemo.parts import Shapes
from stages.guards.report import Digests
from stages.models.hf_names import to_hf
from stages.spec.resolved import Stage
from stages.train.ranks import Ranks


def beside(stage: Stage, chunks: Sequence[Any]) -> list[Any]:
    """Copies of this rank's chunks; none where nothing is read next to the model."""
    if not stage.read_frozen:
        return []
    copies = provider.build_frozen(stage)
    for copy, chunk in zip(copies, chunks, strict=True):
        _fill(inner(copy), inner(chunk))
    return copies


@torch.no_grad()
def _fill(copy: nn.Module, model: nn.Module) -> None:
    for (name, own), (other, tensor) in zip(_tensors(copy), _tensors(model), strict=True):
        if name != other or own.dtype != tensor.dtype or own.shape != tensor.shape:
            raise AssertionError(f"{name} of a copy is not {other} of the model")
        own.copy_(tensor)


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


def digests(chunks: Sequence[Any], rules: Rules, shapes: Shapes, ranks: Ranks) -> dict[str, Digests]:
    """By module, gathered a tensor at a time, for the first rank; all ranks call it."""
    return _digests(Gathering(local.owned(chunks, rules), rules, ranks).weights(shapes))


def expected(weights: nn.ModuleDict | None, parameters: Sequence[Owned], ranks: Ranks) -> dict[str, Digests]:
    """The same of the fp32 `weights` that the stage received, rounded as its model computes with them: for the first
    rank, which has them. All ranks call it; their `parameters` say what is in bf16. Empty: nothing is.
    """
    rounded = in_bf16(parameters, ranks)
    if weights is None or not rounded:
        return {}
    state = weights.state_dict().items()
    return _digests((name, one.bfloat16().float() if name in rounded else one) for name, one in state)


def _digests(tensors: Iterable[tuple[str, Tensor]]) -> dict[str, Digests]:
    found: dict[str, dict[str, str]] = {}
    for name, tensor in tensors:
        module, _, key = name.partition(".")
        found.setdefault(module, {}).update(readback.digests(to_hf({key: tensor})))
    return dict(found)
