"""Mixture of experts as in DeepSeek-V3 (arXiv 2412.19437, section 2.1.2) and Moonlight (arXiv 2502.16982).

Every token takes the shared experts and its top-k routed ones. The router scores by sigmoid, chooses by score + bias,
and weighs by the scores alone, normalised and multiplied by a fixed factor. The bias is no parameter: it is moved by
a rule that evens out the load (`balanced`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stages.models.common import SwiGLU, take_rows
from stages.models.layers import computing_again
from stages.models.ops import silu_mul
from stages.models.transfer import pick
from stages.spec.resolved_models import MoonlightModel


class Router(nn.Module):
    """Chooses and weighs experts; counts what it chose."""

    e_score_correction_bias: Tensor
    counts: Tensor

    def __init__(self, cfg: MoonlightModel) -> None:
        super().__init__()
        self.active, self.scale = cfg.active_experts, cfg.routed_scale
        self.weight = nn.Parameter(torch.empty(cfg.experts, cfg.hidden))
        self.register_buffer("e_score_correction_bias", torch.zeros(cfg.experts))
        # Tokens sent to each expert since the last reset, by training passes only.
        self.register_buffer("counts", torch.zeros(cfg.experts, dtype=torch.int64), persistent=False)
        self.aux_loss: Tensor | None = None

    def forward(self, x: Tensor, real: Tensor | None) -> tuple[Tensor, Tensor]:
        """Experts int64 [N, k] and weights [N, k] of tokens [N, H]; `real` [n] tells which are no padding: None: all.

        In fp32, whatever autocast says: near-ties between experts would fall otherwise with every rounding.
        """
        with torch.autocast(x.device.type, enabled=False):
            scores = nn.functional.linear(x.float(), self.weight.float()).sigmoid()
        chosen = (scores.detach() + self.e_score_correction_bias).topk(self.active, dim=-1).indices
        weights = along_rows(scores, chosen)
        weights = weights / (weights.sum(dim=-1, keepdim=True) + 1e-20) * self.scale
        if self.training:
            aux_loss = balance_loss(pick(scores, real), self.active)
            if not computing_again():  # a layer's second run recomputes the loss for its gradient, and counts nothing
                self.counts += tally(pick(chosen, real), len(self.counts))
                self.aux_loss = aux_loss
        return chosen, weights.to(x.dtype)


def along_rows(table: Tensor, columns: Tensor) -> Tensor:
    """table [N, E] at columns int64 [N, k] of each row: [N, k].

    As one index into all of it: the gradient of a gather along a dimension of several copies their strides from the
    host on a GPU whose algorithms are to be deterministic, which waits for it.
    """
    first = torch.arange(len(table), device=table.device)[:, None] * table.shape[1]
    return table.flatten().index_select(0, (first + columns).flatten()).view(columns.shape)


def tally(chosen: Tensor, experts: int) -> Tensor:
    """How often each expert is in `chosen` (int64, any shape): int64 [E]. torch.bincount reads the highest back."""
    counts = torch.zeros(experts, dtype=torch.int64, device=chosen.device)
    return counts.scatter_add_(0, chosen.flatten(), torch.ones_like(chosen.flatten()))


def balance_loss(scores: Tensor, active: int) -> Tensor:
    """Sum over experts of f_i * P_i for sigmoid scores [N, E] (arXiv 2412.19437, eqs. 17-20), unweighted.

    f_i is the share of tokens with expert i among their top-k by score alone (no bias), times E / k; P_i is the mean
    normalised score. It is 1 when the load is even. N are the tokens of one logical micro-batch, as in Moonlight.
    """
    tokens, experts = scores.shape
    chosen = scores.detach().topk(active, dim=-1).indices
    load = tally(chosen, experts).to(scores.dtype)
    share = scores / scores.sum(dim=-1, keepdim=True)
    return (load * (experts / (active * max(tokens, 1))) * (share.sum(dim=0) / max(tokens, 1))).sum()


def balanced(bias: Tensor, counts: Tensor, step: float) -> Tensor:
    """The bias [L, E] after one step: b + u * (sign(e) - mean sign(e)), e = mean load - load (arXiv 2502.16982, C).

    Counts are int64 [L, E]; the means are over the experts of a layer. Comparing count * E with the layer's sum keeps
    the sign exact.
    """
    error = torch.sign(counts.sum(dim=-1, keepdim=True) - counts * counts.shape[-1]).to(bias.dtype)
    return bias + step * (error - error.mean(dim=-1, keepdim=True))


# Products of fewer than four rows, and the last elements of an array that fill no vector register, go through other
# code whose results round differently. With whole blocks of rows, how many tokens of other documents take the same
# expert does not change a token's last bit.
BLOCK = 16


def _by_expert(chosen: Tensor, experts: int) -> tuple[Tensor, Tensor, Tensor, list[int]]:
    """Lay out the pairs (token, expert) of `chosen` [n] expert by expert, each filled up to a whole number of BLOCKs.

    Returns the pair that each place copies, the place of each pair, which places are real [places, 1], and the number
    of places of each expert. Filling copies pair 0 and is dropped afterwards.
    """
    order = chosen.argsort(stable=True)
    counts = torch.bincount(chosen, minlength=experts)
    sizes = (counts + BLOCK - 1) // BLOCK * BLOCK
    shift = (sizes.cumsum(0) - sizes) - (counts.cumsum(0) - counts)  # filling that comes before each expert
    places = torch.arange(len(order), device=order.device) + shift[chosen[order]]
    sizes_list = sizes.tolist()
    index = order.new_zeros(sum(sizes_list)).index_copy(0, places, order)
    real = torch.zeros(len(index), 1, dtype=torch.bool, device=order.device).index_fill(0, places, True)
    return index, torch.empty_like(order).index_copy(0, order, places), real, sizes_list


class Experts(nn.Module):
    """The routed experts' matrices, stacked: gate and up [E, F, H], down [E, H, F]."""

    def __init__(self, cfg: MoonlightModel) -> None:
        super().__init__()
        self.gate_proj = nn.Parameter(torch.empty(cfg.experts, cfg.expert_ffn, cfg.hidden))
        self.up_proj = nn.Parameter(torch.empty(cfg.experts, cfg.expert_ffn, cfg.hidden))
        self.down_proj = nn.Parameter(torch.empty(cfg.experts, cfg.hidden, cfg.expert_ffn))

    def forward(self, x: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        """Weighted sum of each token's experts: x [N, H], chosen and weights [N, k] -> [N, H]."""
        tokens, active = chosen.shape
        index, inverse, real, sizes = _by_expert(chosen.flatten(), len(self.gate_proj))
        rows = take_rows(x.repeat_interleave(active, dim=0), index, inverse, None)
        outputs = [
            silu_mul(part @ gate.T, part @ up.T) @ down.T
            for part, gate, up, down in zip(
                rows.split(sizes), self.gate_proj.unbind(), self.up_proj.unbind(), self.down_proj.unbind(), strict=True
            )
        ]
        out = take_rows(torch.cat(outputs), inverse, index, real).view(tokens, active, -1)
        return torch.einsum("nk,nkh->nh", weights, out)


class MixtureOfExperts(nn.Module):
    """Shared experts (one wide SwiGLU) plus the routed ones."""

    def __init__(self, cfg: MoonlightModel) -> None:
        super().__init__()
        self.gate = Router(cfg)
        self.experts = Experts(cfg)
        self.shared_experts = SwiGLU(cfg.hidden, cfg.expert_ffn * cfg.shared_experts)

    def forward(self, x: Tensor, real: Tensor | None) -> Tensor:
        """Shape [B, T, H] -> [B, T, H]; `real` int64 [n] names the positions of B * T that are no padding."""
        flat = x.flatten(0, -2)
        chosen, weights = self.gate(flat, real)
        return self.experts(flat, chosen, weights).view(x.shape) + self.shared_experts(x)
