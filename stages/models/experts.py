"""The routed experts' products: which tokens each expert takes, and their three matrices applied to them.

The pairs (token, expert) are laid out expert by expert. On a GPU in bf16 one grouped product takes all experts; the
places are as many as the number of tokens allows at most, so that the host need not know how many each expert takes.
Elsewhere the experts are gone through one by one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.models.common import take_rows
from stages.models.ops import choice, silu_mul

# Products of fewer than four rows, and the last elements of an array that fill no vector register, go through other
# code whose results round differently. With whole blocks of rows, how many tokens of other documents take the same
# expert does not change a token's last bit. Grouped products want their groups to begin at multiples of 16 bytes.
BLOCK = 16


@dataclass(frozen=True)
class Layout:
    """The pairs (token, expert), numbered token by token, expert by expert; filling copies pair 0 and is dropped."""

    index: Tensor  # int64 [places]: the pair that each place copies
    inverse: Tensor  # int64 [pairs]: the place of each pair
    real: Tensor  # bool [places, 1]: False where a place is filling
    ends: Tensor  # int64 [E]: one past each expert's last place, on the device
    sizes: list[int]  # places of each expert; empty where the host does not know them


def tally(chosen: Tensor, experts: int) -> Tensor:
    """How often each expert is in `chosen` (int64, any shape): int64 [E]. torch.bincount reads the highest back."""
    counts = torch.zeros(experts, dtype=torch.int64, device=chosen.device)
    return counts.scatter_add_(0, chosen.flatten(), torch.ones_like(chosen.flatten()))


def by_expert(chosen: Tensor, experts: int) -> Layout:
    """Lay out chosen int64 [pairs], each expert filled up to a whole number of BLOCKs. Waits for the device."""
    counts = tally(chosen, experts)
    sizes = (counts + BLOCK - 1) // BLOCK * BLOCK
    known = sizes.tolist()
    return _lay_out(chosen, counts, sizes, sum(known), known)


def by_expert_bounded(chosen: Tensor, experts: int) -> Layout:
    """The same in as many places as there can be at most, of which the last expert takes what is left over.

    Every expert has at least one BLOCK: the gradient of an expert's matrices is a product over its places, and is left
    unwritten by kernels where there are none.
    """
    counts = tally(chosen, experts)
    sizes = ((counts + BLOCK - 1) // BLOCK * BLOCK).clamp(min=BLOCK)
    places = -(-len(chosen) // BLOCK) * BLOCK + experts * BLOCK
    layout = _lay_out(chosen, counts, sizes, places, [])
    layout.ends[-1].fill_(places)
    return layout


def _lay_out(chosen: Tensor, counts: Tensor, sizes: Tensor, places: int, known: list[int]) -> Layout:
    order = chosen.argsort(stable=True)
    ends = sizes.cumsum(0)
    shift = (ends - sizes) - (counts.cumsum(0) - counts)  # filling that comes before each expert
    at = torch.arange(len(order), device=order.device) + shift.index_select(0, chosen.index_select(0, order))
    return Layout(
        index=order.new_zeros(places).index_copy(0, at, order),
        inverse=torch.empty_like(order).index_copy(0, order, at),
        real=torch.zeros(places, 1, dtype=torch.bool, device=order.device).index_fill(0, at, True),
        ends=ends,
        sizes=known,
    )


class Experts(nn.Module):
    """The routed experts' matrices, stacked: gate and up [E, F, H], down [E, H, F]."""

    def __init__(self, hidden: int, experts: int, ffn: int) -> None:
        super().__init__()
        self.gate_proj = nn.Parameter(torch.empty(experts, ffn, hidden))
        self.up_proj = nn.Parameter(torch.empty(experts, ffn, hidden))
        self.down_proj = nn.Parameter(torch.empty(experts, hidden, ffn))

    def forward(self, x: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        """Weighted sum of each token's experts: x [N, H], chosen and weights [N, k] -> [N, H]."""
        tokens, active = chosen.shape
        experts, ffn, hidden = self.gate_proj.shape
        device = x.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        match choice.experts(device, dtype, hidden, ffn, choice.features()):
            case "grouped_mm":
                layout, products = by_expert_bounded(chosen.flatten(), experts), self._grouped
            case "loop":
                layout, products = by_expert(chosen.flatten(), experts), self._one_by_one
        rows = take_rows(x.to(dtype).repeat_interleave(active, dim=0), layout.index, layout.inverse, None)
        out = take_rows(products(rows, layout), layout.inverse, layout.index, layout.real)
        return torch.einsum("nk,nkh->nh", weights, out.view(tokens, active, hidden))

    def _one_by_one(self, rows: Tensor, layout: Layout) -> Tensor:
        matrices = (self.gate_proj.unbind(), self.up_proj.unbind(), self.down_proj.unbind())
        return torch.cat([
            silu_mul(part @ gate.T, part @ up.T) @ down.T
            for part, gate, up, down in zip(rows.split(layout.sizes), *matrices, strict=True)
        ])  # fmt: skip

    def _grouped(self, rows: Tensor, layout: Layout) -> Tensor:
        """No sum over places is split, so no sum has an order that the GPU chooses."""
        ends = layout.ends.int()
        gate, up, down = (part.to(rows.dtype).mT for part in (self.gate_proj, self.up_proj, self.down_proj))
        inner = silu_mul(F.grouped_mm(rows, gate, offs=ends), F.grouped_mm(rows, up, offs=ends))
        return F.grouped_mm(inner, down, offs=ends)
