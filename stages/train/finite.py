"""Whether what a run made is finite: weights, buffers, optimizer state, and the numbers of its evaluations.

A step's loss says that the weights before it were finite; whether its own update overflowed, only the next step's loss
would say. So weights are checked where no next step follows, and before a checkpoint is written.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from stages.printable import first_few
from stages.train.ranks import ALONE, Ranks

SHOWN = 4  # names in an error message


@torch.no_grad()
def broken_tensors(tensors: Mapping[str, Tensor], ranks: Ranks = ALONE) -> list[str]:
    """Names of tensors that contain an infinity or something that is no number, on any rank. Waits for a device once.

    All ranks name the same tensors in one order, each with what it has of them.
    """
    floats = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}
    if not floats:
        return []
    fine = torch.stack([tensor.isfinite().all() for tensor in floats.values()])
    broken = ranks.count(fine.logical_not().long()).tolist()
    return [name for name, times in zip(floats, broken, strict=True) if times]


@torch.no_grad()
def too_large(tensors: Mapping[str, Tensor]) -> list[str]:
    """Names of tensors with a number whose square overflows in fp32: no norm and no product of theirs is finite.

    Waits for a device once.
    """
    floats = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point() and tensor.numel()}
    if not floats:
        return []
    ends = torch.stack([torch.stack(torch.aminmax(tensor)).float() for tensor in floats.values()])
    fine = ends.square().isfinite().all(dim=1).tolist()
    return [name for name, one in zip(floats, fine, strict=True) if not one]


def broken_numbers(tree: Any, name: str = "") -> Iterator[str]:
    """Dotted names, each with its value, of the numbers of nested evaluations that are not finite."""
    if isinstance(tree, float) and not math.isfinite(tree):
        yield f"{name} is {tree}"
    elif isinstance(tree, Mapping | list | tuple):
        for key, inner in tree.items() if isinstance(tree, Mapping) else enumerate(tree):
            yield from broken_numbers(inner, f"{name}.{key}" if name else str(key))


def first_names(names: list[str]) -> str:
    """The first few of them."""
    return first_few(names, SHOWN)
