"""The routed experts' products: which tokens each expert takes, and their three matrices applied to them.

The pairs (token, expert) are laid out expert by expert. On a GPU in bf16 one grouped product takes all experts; the
places are as many as the number of tokens allows at most, so that the host need not know how many each expert takes.
Elsewhere the experts are gone through one by one.

Shapes: N tokens, k experts of a token, P pairs (all N * k), Q places (q of one expert), E experts, D the model's width,
F an expert's inner width.
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

    index: Tensor  # int64 [Q]: the pair that each place copies
    inverse: Tensor  # int64 [P]: the place of each pair
    real: Tensor  # bool [Q, 1]: False where a place is filling
    ends: Tensor  # int64 [E]: one past each expert's last place, on the device
    sizes: list[int]  # places of each expert; empty where the host does not know them


def tally(chosen: Tensor, experts: int) -> Tensor:
    """How often each expert is in `chosen` (int64, any shape): int64 [E]. torch.bincount reads the highest back."""
    counts_E = torch.zeros(experts, dtype=torch.int64, device=chosen.device)
    return counts_E.scatter_add_(0, chosen.flatten(), torch.ones_like(chosen.flatten()))


def by_expert(chosen_P: Tensor, experts: int) -> Layout:
    """Lay out the pairs' experts int64 [P], each expert filled up to a whole number of BLOCKs. Waits for the device."""
    counts_E = tally(chosen_P, experts)
    sizes_E = (counts_E + BLOCK - 1) // BLOCK * BLOCK
    known = sizes_E.tolist()
    return _lay_out(chosen_P, counts_E, sizes_E, sum(known), known)


def by_expert_bounded(chosen_P: Tensor, experts: int) -> Layout:
    """The same in as many places as there can be at most, of which the last expert takes what is left over.

    Every expert has at least one BLOCK: the gradient of an expert's matrices is a product over its places, and is left
    unwritten by kernels where there are none.
    """
    counts_E = tally(chosen_P, experts)
    sizes_E = ((counts_E + BLOCK - 1) // BLOCK * BLOCK).clamp(min=BLOCK)
    places = -(-len(chosen_P) // BLOCK) * BLOCK + experts * BLOCK
    layout = _lay_out(chosen_P, counts_E, sizes_E, places, [])
    layout.ends[-1].fill_(places)
    return layout


def _lay_out(chosen_P: Tensor, counts_E: Tensor, sizes_E: Tensor, places: int, known: list[int]) -> Layout:
    order_P = chosen_P.argsort(stable=True)  # an expert's pairs stay in the order of their tokens
    ends_E = sizes_E.cumsum(0)
    shift_E = (ends_E - sizes_E) - (counts_E.cumsum(0) - counts_E)  # filling that comes before each expert
    at_P = torch.arange(len(order_P), device=order_P.device) + shift_E.index_select(
        0, chosen_P.index_select(0, order_P)
    )
    return Layout(
        index=order_P.new_zeros(places).index_copy(0, at_P, order_P),
        inverse=torch.empty_like(order_P).index_copy(0, order_P, at_P),
        real=torch.zeros(places, 1, dtype=torch.bool, device=order_P.device).index_fill(0, at_P, True),
        ends=ends_E,
        sizes=known,
    )


class Experts(nn.Module):
    """The routed experts' matrices, stacked: gate and up [E, F, D], down [E, D, F]."""

    def __init__(self, hidden: int, experts: int, ffn: int) -> None:
        super().__init__()
        self.gate_proj = nn.Parameter(torch.empty(experts, ffn, hidden))
        self.up_proj = nn.Parameter(torch.empty(experts, ffn, hidden))
        self.down_proj = nn.Parameter(torch.empty(experts, hidden, ffn))

    def forward(self, x_ND: Tensor, chosen_Nk: Tensor, weights_Nk: Tensor) -> Tensor:
        """Weighted sum [N, D] of each token's experts."""
        tokens, active = chosen_Nk.shape
        experts, ffn, hidden = self.gate_proj.shape
        device = x_ND.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x_ND.dtype
        match choice.experts(device, dtype, hidden, ffn, choice.features()):
            case "grouped_mm":
                layout, products = by_expert_bounded(chosen_Nk.flatten(), experts), self._grouped
            case "loop":
                layout, products = by_expert(chosen_Nk.flatten(), experts), self._one_by_one
        rows_QD = take_rows(x_ND.to(dtype).repeat_interleave(active, dim=0), layout.index, layout.inverse, None)
        out_PD = take_rows(products(rows_QD, layout), layout.inverse, layout.index, layout.real)
        return torch.einsum("nk,nkh->nh", weights_Nk, out_PD.view(tokens, active, hidden))

    def _one_by_one(self, rows_QD: Tensor, layout: Layout) -> Tensor:
        matrices = (self.gate_proj.unbind(), self.up_proj.unbind(), self.down_proj.unbind())
        return torch.cat([
            silu_mul(rows_qD @ gate_FD.T, rows_qD @ up_FD.T) @ down_DF.T
            for rows_qD, gate_FD, up_FD, down_DF in zip(rows_QD.split(layout.sizes), *matrices, strict=True)
        ])  # fmt: skip

    def _grouped(self, rows_QD: Tensor, layout: Layout) -> Tensor:
        """No sum over places is split, so no sum has an order that the GPU chooses."""
        ends_E = layout.ends.int()
        gate_EDF, up_EDF, down_EFD = (
            part.to(rows_QD.dtype).mT for part in (self.gate_proj, self.up_proj, self.down_proj)
        )
        inner_QF = silu_mul(F.grouped_mm(rows_QD, gate_EDF, offs=ends_E), F.grouped_mm(rows_QD, up_EDF, offs=ends_E))
        return F.grouped_mm(inner_QF, down_EFD, offs=ends_E)
