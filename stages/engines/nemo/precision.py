"""Modules whose tensors stay as precise as they are in a model that Megatron-Core casts to bf16."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


def same_type(fn: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """What `nn.Module._apply` is given, without a change of type: it moves tensors to a device, and nothing more."""

    def moved(tensor: Tensor) -> Tensor:
        found = fn(tensor)
        return found if found.dtype == tensor.dtype else tensor.to(found.device)

    return moved
