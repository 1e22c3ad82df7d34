"""A model's layers, one after another, with what lies inside them kept for the backward pass or computed again.

With `recomputed`, a layer keeps its inputs and what attention put out, and the backward pass runs it a second time
(activation checkpointing, Chen et al., arXiv 1604.06174, with a segment a layer; except for attention, whose products
grow with the square of the context and whose output does not: selective, Korthikanti et al., arXiv 2205.05198). The
second run computes the bits of the first: nothing here draws random numbers, and torch restores autocast for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

# Attention's kernels, by device and precision: their outputs and normalisers are kept.
ATTENTION = {
    "aten::_scaled_dot_product_flash_attention", "aten::_scaled_dot_product_flash_attention_for_cpu",
    "aten::_scaled_dot_product_efficient_attention", "aten::_scaled_dot_product_cudnn_attention",
    "torch_attn::_varlen_attn", "stages::flash4",
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
    kept: deque[tuple[Any, ...]] = deque()
    return _Keep(kept), _second_run(_Reuse(kept))


class _Keep(TorchDispatchMode):
    """Keeps what attention's kernels put out, in their order.

    torch's own selective checkpoints want both runs to call the same operations. They do not: with autocast's cache the
    first run of a looped layer converts its weights, and of its second runs the one that comes first.
    """

    def __init__(self, kept: deque[tuple[Any, ...]]) -> None:
        super().__init__()
        self.kept = kept

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.name() in ATTENTION:  # detached: autograd gives `out` a history when this returns
            self.kept.append(tuple(x.detach() if isinstance(x, Tensor) else x for x in out))
        return out


class _Reuse(TorchDispatchMode):
    """Gives them again in the place of the kernels, each once."""

    def __init__(self, kept: deque[tuple[Any, ...]]) -> None:
        super().__init__()
        self.kept = kept

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.kept.popleft() if func.name() in ATTENTION else func(*args, **(kwargs or {}))


@contextmanager
def _second_run(kept: AbstractContextManager[Any]) -> Iterator[None]:
    token = _again.set(True)
    try:
        with kept:
            yield
    finally:
        _again.reset(token)
