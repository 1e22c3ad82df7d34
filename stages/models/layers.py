"""A model's layers, one after another, with what lies inside them kept for the backward pass or computed again.

With `recomputed`, a layer keeps nothing but its inputs, and the backward pass runs it a second time (activation
checkpointing, Chen et al., arXiv 1604.06174, with a segment a layer). The second run computes the bits of the first:
nothing here draws random numbers, and torch restores autocast for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

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


def _contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """What a layer's first run is in, and its second."""
    return nullcontext(), _second_run()


@contextmanager
def _second_run() -> Iterator[None]:
    token = _again.set(True)
    try:
        yield
    finally:
        _again.reset(token)
