"""A model's layers, one after another, with what lies inside them kept for the backward pass or computed again.

With `recomputed`, a layer keeps its inputs and what attention put out, and the backward pass runs it a second time
(activation checkpointing, Chen et al., arXiv 1604.06174, with a segment a layer; but for attention, whose products
grow with the square of the context and whose output does not: selective, Korthikanti et al., arXiv 2205.05198). The
second run computes the bits of the first: nothing here draws random numbers, and torch restores autocast for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

# Attention's kernels, by device and precision: their outputs and normalisers are kept.
ATTENTION = {
    "aten::_scaled_dot_product_flash_attention", "aten::_scaled_dot_product_flash_attention_for_cpu",
    "aten::_scaled_dot_product_efficient_attention", "aten::_scaled_dot_product_cudnn_attention",
    "torch_attn::_varlen_attn",
}  # fmt: skip
_again: ContextVar[bool] = ContextVar("_again", default=False)


class Layers(nn.ModuleList):
    """Layers that each take the stream first; parameter names are those of a ModuleList."""

    recomputed = False

    def through(self, x: Tensor, *given: Any) -> Tensor:
        """The stream [...] after all layers, each called as layer(x, *given)."""
        for layer in self:
            if self.recomputed and torch.is_grad_enabled():
                x = checkpoint(layer, x, *given, use_reentrant=False, preserve_rng_state=False, context_fn=_contexts)
            else:
                x = layer(x, *given)
        return x


def recompute(modules: nn.Module, wanted: bool) -> None:
    """Say for all layers below `modules` whether they keep their activations or compute them again."""
    for module in modules.modules():
        if isinstance(module, Layers):
            module.recomputed = wanted


def computing_again() -> bool:
    """Whether this is the second run of a layer, in which nothing must be counted or remembered."""
    return _again.get()


def _contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    """What a layer's first run is in, and its second."""
    first, second = create_selective_checkpoint_contexts(_policy)
    return first, _second_run(second)


def _policy(_about: object, operation: Any, *_given: Any, **_named: Any) -> CheckpointPolicy:
    kept = operation.name() in ATTENTION
    return CheckpointPolicy.MUST_SAVE if kept else CheckpointPolicy.PREFER_RECOMPUTE


@contextmanager
def _second_run(kept: AbstractContextManager[Any]) -> Iterator[None]:
    token = _again.set(True)
    try:
        with kept:
            yield
    finally:
        _again.reset(token)
