"""Weights of several models of one architecture, averaged: the same bits in whatever order they are listed.

Checkpoints of one trunk averaged: Sanyal et al. 2023 (arXiv 2306.03241); models that branch off one: Wortsman et al.
2022 (arXiv 2203.05482). In fp64 each tensor is base + sum of share * (model - base), with the models in the order that
the caller fixes and the first as the base, and is rounded once to its own type. So a merge of equal models is that
model, bit for bit, whatever the shares.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

import torch
from torch import Tensor, nn

from stages.errors import UserError


@torch.no_grad()
def merge(module: nn.Module, models: Sequence[tuple[str, Fraction, Callable[[], None]]]) -> None:
    """Leave the average in `module`. Each of `models` is a name, its share of the whole, and what loads it there.

    Besides the module this keeps two copies of it in fp64. Raises UserError where what is no floating-point number
    differs between models.
    """
    base: dict[str, Tensor] = {}
    moved: dict[str, Tensor] = {}
    for name, share, load in models:
        load()
        state = module.state_dict()
        if not base:
            base = {key: tensor.double() if _averages(tensor) else tensor.clone() for key, tensor in state.items()}
            moved = {key: torch.zeros_like(tensor) for key, tensor in base.items() if _averages(tensor)}
            continue
        for key, tensor in state.items():
            if key in moved:
                # Two roundings, of the product and of the sum: one of both would differ from machine to machine.
                moved[key].add_((tensor.double() - base[key]).mul_(float(share)))
            elif not torch.equal(tensor, base[key]):
                raise UserError(f"merge: {key} of {name} differs, and whole numbers have no average")
    for key, tensor in module.state_dict().items():
        tensor.copy_(base[key] + moved[key] if key in moved else base[key])


def _averages(tensor: Tensor) -> bool:
    return tensor.is_floating_point()
