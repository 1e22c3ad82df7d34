"""Our Muon on Megatron's parameters: each matrix of the model by itself, whole, as the torch engine has it.

Core's own Muon (`emerging_optimizers`) takes gate and up together as one matrix, and scales otherwise. Here a fused
parameter is split by the rules of `layout`: query, key, value, gate and up are orthogonalised one by one, and so is
every expert. Tensor-parallel ranks put their parts of a matrix together, compute the same update and keep their own
part of it; momenta stay divided as the parameters are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from megatron.core import parallel_state
from torch import Tensor

from stages.contract.numbers import value
from stages.engines.nemo.layout import region, whole_shape
from stages.engines.nemo.local import Owned
from stages.models.ops import scale
from stages.spec import resolved_training
from stages.train.collectives import ALL_GATHER
from stages.train.muon import as_matrices, directions, orthogonalised, step_size
from stages.train.optimizer import MOMENTUM

TOGETHER = 1 << 24  # elements of the parameters that are whole at one time; it bounds memory and changes no bit


class MatrixMuon(torch.optim.Optimizer):
    """`stages.train.muon` as a torch optimizer that Core wraps. `members` is set once Core has chosen what it moves."""

    moments = (MOMENTUM,)

    def __init__(self, params: Any, cfg: resolved_training.Muon) -> None:
        super().__init__(params, {"lr": 0.0, "weight_decay": value(cfg.weight_decay, None)})
        self.cfg = cfg
        self.members: list[Owned] = []

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:
        """Decay and move every matrix; all ranks of a tensor-parallel group call it."""
        for group in self.param_groups:
            of_group = [one for one in self.members if one.group is group]
            if len(of_group) != len(group["params"]):
                raise AssertionError(f"{len(of_group)} of {len(group['params'])} parameters of a group are known")
            if group["weight_decay"]:
                scale([one.main for one in of_group], 1 - group["lr"] * group["weight_decay"])
            for some in _together(of_group):
                self._move(some, group["lr"])

    def _move(self, members: Sequence[Owned], lr: float) -> None:
        gradients = [_gradient(one) for one in members]
        momenta = [self.momentum(one) for one in members]
        ahead = directions(gradients, momenta, value(self.cfg.momentum, None), self.cfg.nesterov)
        whole = [
            as_matrices(_whole(one, part))
            for one, direction in zip(members, ahead, strict=True)
            for part in one.placed.rule.form.split(direction)
        ]
        updates = iter(orthogonalised(whole, self.cfg.newton_schulz, self.cfg.newton_schulz_steps))
        for one in members:
            parts = [part.contiguous() for part in one.placed.rule.form.split(one.main.detach())]
            for part in parts:
                update = next(updates)
                shape = tuple(part.shape)
                wide = update.reshape(whole_shape(shape, _cut(one), one.parts))
                rate = step_size(update, lr, self.cfg.update_rms)
                part.add_(wide[region(shape, _cut(one), one.part)], alpha=rate)
            one.main.copy_(one.placed.rule.form.join(parts))

    def momentum(self, one: Owned) -> Tensor:
        """A parameter's momentum, zeros before its first step."""
        state = self.state[one.main]
        if MOMENTUM not in state:
            state[MOMENTUM] = torch.zeros_like(one.main)
        found: Tensor = state[MOMENTUM]
        return found


def start(optimizer: MatrixMuon, config: object = None) -> None:
    """Make the momenta, as Core wants them before it reads a checkpoint."""
    for one in optimizer.members:
        optimizer.momentum(one)


def _gradient(one: Owned) -> Tensor:
    if one.main.grad is None:
        raise AssertionError(f"{one.placed.key} has no gradient")
    return one.main.grad


def _together(members: Sequence[Owned]) -> Iterator[list[Owned]]:
    """The same on every rank of a tensor-parallel group, which have the same parameters in the same order."""
    some: list[Owned] = []
    for one in members:
        if some and sum(other.main.numel() * other.parts for other in [*some, one]) > TOGETHER:
            yield some
            some = []
        some.append(one)
    if some:
        yield some


def _cut(one: Owned) -> int | None:
    """The dimension along which tensor-parallel ranks divide matrices; expert-parallel ranks have whole ones."""
    return one.placed.rule.cut if one.placed.rule.by == "tensor" else None


def _whole(one: Owned, part: Tensor) -> Tensor:
    """The matrix of which tensor-parallel ranks have parts."""
    cut = _cut(one)
    if cut is None or one.parts == 1:
        return part
    found = part.new_empty(one.parts, *part.shape)
    group = parallel_state.get_tensor_model_parallel_group()
    ALL_GATHER(found.view(-1), part.contiguous().view(-1), group=group)
    return torch.cat(found.unbind(), dim=cut)
