"""Weights and moments from files under our names into Megatron's ranks, bit for bit, one tensor at a time.

Every rank reads its own parts (`parts`); nothing is exchanged (the way out is `gathering`). Which tensors there are
is set by the torch engine's own modules on the device "meta": so a vocabulary that was padded, a layer that is missing
or a name that no rule knows is an error here, and not a model of another shape.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stages.engines.nemo.layout import Placed, region, whole_shape
from stages.engines.nemo.local import Owned
from stages.engines.nemo.parts import Read, Shapes


@torch.no_grad()
def load_weights(parameters: Sequence[Owned], shapes: Shapes, read: Read) -> None:
    """Fill this rank's parameters, and the optimizer's fp32 copies, from ours. Raises ValueError for other shapes."""
    for one in parameters:
        fused = _joined(one, shapes, read).to(one.main.dtype)
        one.tensor.copy_(fused)
        if one.main is not one.tensor:
            one.main.view(-1).copy_(fused.reshape(-1)[one.start : one.stop])


@torch.no_grad()
def load_state(parameters: Sequence[Owned], shapes: Shapes, read: Read, module: str, step: int) -> None:
    """Give this rank's torch optimizers one module's moments, and the number of updates that made them."""
    for one in parameters:
        if one.inner is None or one.placed.module != module:
            continue
        for moment in one.moments:
            fused = _joined(one, shapes, _of_moment(read, moment))
            one.take(moment, fused.reshape(-1)[one.start : one.stop])
        one.count(step)


def _of_moment(read: Read, moment: str) -> Read:
    return lambda target, place: read(f"{target}.{moment}", place)


def _joined(one: Owned, shapes: Shapes, read: Read) -> Tensor:
    parts = []
    for target, local in zip(one.placed.targets, local_shapes(one.placed, one.tensor.shape), strict=True):
        fits(one.placed, target, local, one.parts, shapes)
        part = read(target, region(local, one.placed.rule.cut, one.part)).float()
        if tuple(part.shape) != tuple(local):
            raise ValueError(f"{target}: read {list(part.shape)}, {one.placed.key} has {list(local)}")
        parts.append(part)
    return one.placed.rule.form.join(parts)


def local_shapes(placed: Placed, fused: Sequence[int]) -> list[tuple[int, ...]]:
    """Of this rank's parts of our tensors, by the shape of the parameter that they are fused into."""
    return [tuple(part.shape) for part in placed.rule.form.split(torch.empty(tuple(fused), device="meta"))]


def fits(placed: Placed, target: str, local: Sequence[int], parts: int, shapes: Shapes) -> None:
    """Raise ValueError unless the model has the tensor, as large as the parts together make it."""
    if target not in shapes:
        raise ValueError(f"Megatron's {placed.key} would be {target}, which the model does not have")
    wanted, found = shapes[target].shape, whole_shape(local, placed.rule.cut, parts)
    if tuple(wanted) != tuple(found):
        raise ValueError(f"Megatron's {placed.key} makes {target} {list(found)}; the model's is {list(wanted)}")
