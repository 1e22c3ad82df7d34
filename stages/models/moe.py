"""Mixture of experts as in DeepSeek-V3 (arXiv 2412.19437, section 2.1.2) and Moonlight (arXiv 2502.16982).

Every token takes the shared experts and its top-k routed ones. The router scores by sigmoid, chooses by score + bias,
and weighs by the scores alone, normalised and multiplied by a fixed factor. The bias is no parameter: it is moved by
a rule that evens out the load (`balanced`).

Shapes: B rows, T positions, N tokens (all B * T), n of them no padding, D the model's width, E experts, k chosen by a
token, L layers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stages.models.common import SwiGLU
from stages.models.experts import Experts, tally
from stages.models.layers import computing_again
from stages.models.ops.entries import entries
from stages.models.transfer import pick
from stages.spec.decoder import Dense, Mixture


class Router(nn.Module):
    """Chooses and weighs experts; counts what it chose."""

    e_score_correction_bias: Tensor
    counts: Tensor

    def __init__(self, hidden: int, cfg: Mixture) -> None:
        super().__init__()
        self.active, self.scale = cfg.active, cfg.scale
        self.weight = nn.Parameter(torch.empty(cfg.experts, hidden))
        self.register_buffer("e_score_correction_bias", torch.zeros(cfg.experts))
        # Tokens sent to each expert since the last reset, by training passes only.
        self.register_buffer("counts", torch.zeros(cfg.experts, dtype=torch.int64), persistent=False)
        self.aux_loss: Tensor | None = None

    def forward(self, x_ND: Tensor, real_n: Tensor | None) -> tuple[Tensor, Tensor]:
        """Experts int64 [N, k] and weights [N, k] of tokens; `real_n` says which are no padding, None: all."""
        scores_NE, chosen_Nk, weights_Nk = route(
            x_ND, self.weight, self.e_score_correction_bias, self.active, self.scale
        )
        if self.training:
            aux_loss = balance_loss(pick(scores_NE, real_n), self.active)
            if not computing_again():  # a layer's second run recomputes the loss for its gradient, and counts nothing
                self.counts += tally(pick(chosen_Nk, real_n), len(self.counts))
                self.aux_loss = aux_loss
        return chosen_Nk, weights_Nk.to(x_ND.dtype)


class SoftmaxRouter(nn.Module):
    """Chooses and weighs experts by their probabilities (Qwen3's code); counts what it chose."""

    counts: Tensor

    def __init__(self, hidden: int, cfg: Mixture) -> None:
        super().__init__()
        self.active, self.normalised = cfg.active, cfg.normalised
        self.weight = nn.Parameter(torch.empty(cfg.experts, hidden))
        self.register_buffer("counts", torch.zeros(cfg.experts, dtype=torch.int64), persistent=False)
        self.aux_loss: Tensor | None = None

    def forward(self, x_ND: Tensor, real_n: Tensor | None) -> tuple[Tensor, Tensor]:
        """Experts int64 [N, k] and weights [N, k] of tokens; `real_n` says which are no padding, None: all."""
        with torch.autocast(x_ND.device.type, enabled=False):
            scores_NE = nn.functional.linear(x_ND.float(), self.weight.float()).softmax(-1)
        chosen_Nk = scores_NE.detach().topk(self.active, dim=-1).indices
        weights_Nk = entries(scores_NE, chosen_Nk)
        if self.normalised:
            weights_Nk = weights_Nk / weights_Nk.sum(dim=-1, keepdim=True)
        if self.training:
            aux_loss = balance_loss(pick(scores_NE, real_n), self.active)
            if not computing_again():
                self.counts += tally(pick(chosen_Nk, real_n), len(self.counts))
                self.aux_loss = aux_loss
        return chosen_Nk, weights_Nk.to(x_ND.dtype)


def route(x_ND: Tensor, weight_ED: Tensor, bias_E: Tensor, active: int, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Scores [N, E] of tokens, the experts chosen int64 [N, k], and their weights [N, k].

    In fp32, whatever autocast says: near-ties between experts would fall otherwise with every rounding.
    """
    with torch.autocast(x_ND.device.type, enabled=False):
        scores_NE = nn.functional.linear(x_ND.float(), weight_ED.float()).sigmoid()
    chosen_Nk = (scores_NE.detach() + bias_E).topk(active, dim=-1).indices
    # Scores without the bias: it decides which experts a token goes to, not how much they count.
    weights_Nk = entries(scores_NE, chosen_Nk)
    return scores_NE, chosen_Nk, weights_Nk / (weights_Nk.sum(dim=-1, keepdim=True) + 1e-20) * scale


def balance_loss(scores_NE: Tensor, active: int) -> Tensor:
    """Sum over experts of f_i * P_i for sigmoid scores (arXiv 2412.19437, eqs. 17-20), unweighted.

    f_i is the share of tokens with expert i among their top-k by score alone (no bias), times E / k; P_i is the mean
    normalised score. It is 1 when the load is even. N are the tokens of one logical micro-batch, as in Moonlight.
    """
    tokens, experts = scores_NE.shape
    # Which experts are on top is a count and has no gradient: the loss moves the router by the mean scores alone.
    load_E = tally(scores_NE.detach().topk(active, dim=-1).indices, experts)
    share_E = (scores_NE / scores_NE.sum(dim=-1, keepdim=True)).sum(dim=0)
    return imbalance(load_E, share_E, max(tokens, 1), active)


def imbalance(load_E: Tensor, share_E: Tensor, tokens: int | Tensor, active: int) -> Tensor:
    """The sum of `balance_loss` from its parts: tokens with each expert among their top-k, integers, their
    normalised scores added up, and their number, at least 1.
    """
    return (load_E.to(share_E.dtype) * (len(load_E) / (active * tokens)) * (share_E / tokens)).sum()


def balanced(bias_LE: Tensor, counts_LE: Tensor, step: float) -> Tensor:
    """The bias [L, E] after one step: b + u * (sign(e) - mean sign(e)), e = mean load - load (arXiv 2502.16982, C).

    Counts are int64 [L, E]; the means are over the experts of a layer. Comparing count * E with the layer's sum keeps
    the sign exact.
    """
    error_LE = torch.sign(counts_LE.sum(dim=-1, keepdim=True) - counts_LE * counts_LE.shape[-1]).to(bias_LE.dtype)
    return bias_LE + step * (error_LE - error_LE.mean(dim=-1, keepdim=True))


class MixtureOfExperts(nn.Module):
    """The routed experts, plus shared ones (one wide SwiGLU) where there are some."""

    def __init__(self, hidden: int, cfg: Mixture) -> None:
        super().__init__()
        self.gate = (Router if cfg.scoring == "sigmoid" else SoftmaxRouter)(hidden, cfg)
        self.experts = Experts(hidden, cfg.experts, cfg.ffn)
        shared = cfg.shared > 0 or cfg.scoring == "sigmoid"  # DeepSeek-V3's code has them, be they of no width
        self.shared_experts = SwiGLU(hidden, Dense(cfg.ffn * cfg.shared)) if shared else None

    def forward(self, x_BTD: Tensor, real_n: Tensor | None) -> Tensor:
        """Shape [B, T, D] -> [B, T, D]; `real_n`, int64, names the positions of B * T that are no padding."""
        x_ND = x_BTD.flatten(0, -2)
        chosen_Nk, weights_Nk = self.gate(x_ND, real_n)
        routed_BTD = self.experts(x_ND, chosen_Nk, weights_Nk).view(x_BTD.shape)
        return routed_BTD if self.shared_experts is None else routed_BTD + self.shared_experts(x_BTD)
