"""Defects as they are written, each put where a step passes: what the trace is good for is that it finds them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from stages.models import attention, common
from stages.models.ops import head_chunk, head_pieces
from stages.train import optimizer
from stages.train.objectives import base, causal
from tests.traced import steps


@dataclass(frozen=True)
class Defect:
    """What takes the place of a name of a module, in a stage of this kind; an expression for what is then found."""

    where: Any
    name: str
    instead: Callable[..., Any]
    said: str
    kind: str = "next_token"
    way: int = 0


def _mask(hidden_BTD: Tensor, rows: base.Rows) -> tuple[Tensor, Tensor]:
    seen_N = rows.labels.flatten() != base.IGNORED
    return hidden_BTD.flatten(0, 1)[seen_N], rows.labels.flatten()[seen_N]


def _mask_on_the_host(hidden_BTD: Tensor, rows: base.Rows) -> tuple[Tensor, Tensor]:
    seen_n = (rows.labels.flatten() != base.IGNORED).cpu().nonzero().squeeze(1)
    return hidden_BTD.flatten(0, 1)[seen_n], rows.labels.flatten()[seen_n]


def _read_back(self: optimizer.Optimizer, gradients: list[Tensor]) -> Tensor:
    norm = optimizer.global_norm(gradients)
    if norm > 1:
        torch._foreach_mul_(gradients, 1 / norm)
    return norm


def _without_a_device(x: Tensor) -> Tensor:
    return x + torch.zeros(x.shape[-1])


def _summed_up(x: Tensor) -> Tensor:
    return x - x.cumsum(0).detach() * 0


def _scattered(table: Tensor, columns: Tensor, values: Tensor) -> Tensor:
    return table.scatter_add_(1, columns, -values)


def _at_once(values: Any, device: torch.device) -> Tensor:
    return torch.as_tensor(values).to(device)


def _two_types(left: Tensor, right: Tensor) -> Tensor:
    return left @ right.float()


DEFECTS = {
    "a mask by values": Defect(causal, "supervised_only", _mask, "index by a mask", "sft"),
    "a mask on the host": Defect(causal, "supervised_only", _mask_on_the_host, "a copy to the host", "sft"),
    "a norm that is read": Defect(optimizer.Optimizer, "clip", _read_back, "_local_scalar_dense"),
    "a tensor without a device": Defect(common, "for_products", _without_a_device, r"two (different )?devices"),
    "a sum without an order": Defect(common, "for_products", _summed_up, "cumsum has no deterministic form"),
    "a scatter that waits": Defect(
        head_pieces, "subtract_entries", _scattered, "scatter_add_ of 2 dimensions", "z-loss and average", 3
    ),
    "memory that is not pinned": Defect(base, "to_device", _at_once, "not from pinned memory"),
    "values at any address": Defect(attention, "aligned", lambda x: x, "FlashAttention reads 16 bytes", "moe"),
    "factors of two types": Defect(head_chunk, "product", _two_types, "mm of torch.bfloat16 and torch.float32", way=1),
}


def trace(name: str, mode: FakeTensorMode) -> Counter[str]:
    """A step with a defect in it."""
    defect = DEFECTS[name]
    with patch.object(defect.where, defect.name, defect.instead):
        return steps.trace(defect.kind, steps.WAYS[defect.way], mode)
