"""Weights and moments from files under our names into Megatron's ranks, bit for bit, one tensor at a time.

Every rank reads its own parts from the file; nothing is exchanged (the way out is `gathering`). Which tensors there are
is set by the torch engine's own modules on the device "meta": so a vocabulary that was padded, a layer that is missing
or a name that no rule knows is an error here, and not a model of another shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from stages.engines.nemo.layout import Placed, region, whole_shape
from stages.engines.nemo.local import Owned
from stages.models.build import first_value
from stages.models.hf_names import hf_names
from stages.models.tensor_file import Stored
from stages.spec.resolved_models import Model
from stages.train.optimizer import STEP

Shapes = Mapping[str, Tensor]
"""Our names -> tensors on "meta": "<module>.<parameter>", and for moments "<module>.<parameter>.<moment>"."""

Read = Callable[[str, tuple[slice, ...]], Tensor]
"""A part of one of our tensors by its name, from wherever it is kept."""


@torch.no_grad()
def load_weights(parameters: Sequence[Owned], shapes: Shapes, read: Read) -> None:
    """Fill this rank's parameters, and the optimizer's fp32 copies, from ours. Raises ValueError for other shapes."""
    for one in parameters:
        fused = _joined(one, shapes, read).to(one.main.dtype)
        one.tensor.copy_(fused)
        if one.main is not one.tensor:
            one.main.view(-1).copy_(fused.reshape(-1)[one.start : one.stop])


@torch.no_grad()
def load_state(parameters: Sequence[Owned], shapes: Shapes, state: Mapping[str, Tensor], module: str) -> None:
    """Give this rank's torch optimizers one module's moments and number of updates, as a torch engine's file has them.

    Of a `Stored` no more is read than this rank's parts. That the names are the right ones is checked before.
    """
    step = int(state[f"{module}.{STEP}"])
    for one in parameters:
        if one.inner is None or one.placed.module != module:
            continue
        for moment in one.moments:
            fused = _joined(one, shapes, _moments(state, moment))
            one.take(moment, fused.reshape(-1)[one.start : one.stop])
        one.count(step)


def _joined(one: Owned, shapes: Shapes, read: Read) -> Tensor:
    parts = []
    for target, local in zip(one.placed.targets, local_shapes(one.placed, one.tensor.shape), strict=True):
        fits(one.placed, target, local, one.parts, shapes)
        part = read(target, region(local, one.placed.rule.cut, one.part))
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


def from_file(stored: Stored, shapes: Shapes) -> Read:
    """Read parts of weights from a module's own file, which has no module in its names, and experts one by one."""

    def read(target: str, place: tuple[slice, ...]) -> Tensor:
        names = hf_names(target.partition(".")[2], shapes[target])
        if len(names) == 1:
            return stored.part(names[0], place)
        return torch.stack([stored.part(name, place[1:]) for name in names[place[0]]])

    return read


def from_memory(tensors: Mapping[str, Tensor]) -> Read:
    """Read parts of weights that are here, under our names."""

    def read(target: str, place: tuple[slice, ...]) -> Tensor:
        return tensors[target][place]

    return read


def drawn(name: str, cfg: Model, seed: int, shapes: Shapes) -> Read:
    """Read parts of a module's first weights, each tensor drawn anew: a rank never has them all. Buffers begin at 0."""

    def read(target: str, place: tuple[slice, ...]) -> Tensor:
        like = shapes[target]
        if not isinstance(like, nn.Parameter):
            return torch.zeros(like.shape, device="cpu")[place]
        return first_value(name, cfg, seed, target.partition(".")[2], like.shape)[place]

    return read


def _moments(state: Mapping[str, Tensor], moment: str) -> Read:
    def read(target: str, place: tuple[slice, ...]) -> Tensor:
        name = f"{target}.{moment}"
        return state.part(name, place) if isinstance(state, Stored) else state[name][place]

    return read
