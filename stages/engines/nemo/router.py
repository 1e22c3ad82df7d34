"""The router of Megatron-Core's expert layers, with this project's rules (`stages.models.moe`).

Core's own moves its bias by sign(mean load - load) alone, inside the reduction of the gradients; Moonlight subtracts
the mean of the signs (arXiv 2502.16982, appendix C). Core's keeps weight and bias in the model's precision and its
counts in fp32. Here weight and bias are in fp32 at all times, counts are integers, and the bias moves after the
optimizer, as on the torch engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.distributed as dist
from megatron.core.transformer.module import MegatronModule
from megatron.core.transformer.moe.moe_utils import MoEAuxLossAutoScaler
from torch import Tensor, nn

from stages.engines.nemo.precision import same_type
from stages.models.experts import tally
from stages.models.moe import balanced, imbalance, route
from stages.spec.families.moonlight import MoonlightModel


class Router(MegatronModule):
    """Chooses and weighs experts for this rank's part of a micro-batch; counts what it chose.

    Under sequence or context parallelism a rank has some of the positions. Loads are added up over those ranks, so that
    the balance loss is the micro-batch's; each rank differentiates the scores of its own positions.
    """

    e_score_correction_bias: Tensor
    counts: Tensor
    aux_loss: Tensor

    def __init__(self, cfg: MoonlightModel, config: Any, pg_collection: Any, is_mtp_layer: bool = False) -> None:
        super().__init__(config)
        self.active, self.scale, self.experts = cfg.active_experts, cfg.routed_scale, cfg.experts
        self.ranks = pg_collection.tp_cp  # who shares a micro-batch's positions
        self.tensor_parallel = pg_collection.tp
        self.weight = nn.Parameter(torch.empty(cfg.experts, cfg.hidden, dtype=torch.float32))
        self.weight.sequence_parallel = config.sequence_parallel
        self.register_buffer("e_score_correction_bias", torch.zeros(cfg.experts, dtype=torch.float32))
        self.register_buffer("counts", torch.zeros(cfg.experts, dtype=torch.int64), persistent=False)
        self.register_buffer("aux_loss", torch.zeros((), dtype=torch.float32), persistent=False)
        self._per_row = 0.0
        self._gradient = 0.0

    def begin(self, coefficient: float, samples: int, divisor: int) -> None:
        """Start a step of so many samples, with this coefficient of the balance loss.

        A micro-batch's balance loss counts by its rows. Core divides the sum of all gradients by `divisor` (supervised
        tokens, or pairs) at the end of the step, and must not divide this loss: it is multiplied by it here.
        """
        self.counts.zero_()
        self.aux_loss.zero_()
        self._per_row = 1 / samples
        self._gradient = coefficient * divisor / samples

    def forward(self, x: Tensor, padding: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Weights [N, E], zero where an expert is not chosen, and bool [N, E] where it is, of x [S, B, H], N = S * B.

        `padding` bool [S, B] is true where a position is filling; for a whole row or for this rank's positions.
        """
        scores, chosen, weights = route(
            x.flatten(0, 1), self.weight, self.e_score_correction_bias, self.active, self.scale
        )
        if self.training and torch.is_grad_enabled():  # of a recomputed layer's two runs the first has no gradient
            weights = self._balance(scores, chosen, weights, self._real(x, padding))
        table = torch.zeros_like(scores)
        mapping = table.bool().scatter(1, chosen, True)
        return table.scatter(1, chosen, weights).to(x.dtype), mapping

    def set_layer_number(self, layer_number: int) -> None:
        """Core tells each router its layer; this one has no use for it."""

    def _real(self, x: Tensor, padding: Tensor | None) -> Tensor:
        """Where this rank's positions are no filling, bool [S, B]."""
        if padding is None:
            return torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        if len(padding) != len(x):  # Core divides it on the first pipeline stage only
            padding = padding.chunk(self.tensor_parallel.size())[self.tensor_parallel.rank()]
        return ~padding

    def _balance(self, scores: Tensor, chosen: Tensor, weights: Tensor, real: Tensor) -> Tensor:
        """Count what was chosen, and hang the balance loss on the weights, whose values stay as they are."""
        here = real.flatten()[:, None]
        self.counts += _tally(chosen, here, self.experts)
        found = torch.cat((_tally(scores.detach().topk(self.active).indices, here, self.experts), real.sum(0)))
        if self.ranks.size() > 1:
            dist.all_reduce(found, group=self.ranks)
        load, rows = found[: self.experts], (found[self.experts :] > 0).sum()
        share = (scores / scores.sum(dim=-1, keepdim=True) * here).sum(dim=0)
        tokens = (load.sum() // self.active).clamp(min=1).to(scores.dtype)
        loss = imbalance(load, share, tokens, self.active) * rows
        self.aux_loss += loss.detach() * self._per_row
        return MoEAuxLossAutoScaler.apply(weights, loss * self._gradient)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Router:
        """A model in bf16 has its routers in fp32."""
        return super()._apply(same_type(fn), recurse)


def _tally(chosen: Tensor, here: Tensor, experts: int) -> Tensor:
    """How often each expert is in chosen int64 [N, k] where `here` bool [N, 1]: int64 [E]."""
    one_more = torch.where(here, chosen, experts)  # what is not here counts for an expert that is not there
    return tally(one_more, experts + 1)[:experts]


def routers(model: Iterable[nn.Module]) -> list[Router]:
    """The routers of this pipeline stage's parts of a model, in the order of their layers."""
    return [module for part in model for module in part.modules() if isinstance(module, Router)]


def step_counts(found: list[Router], ranks: dist.ProcessGroup) -> Tensor:
    """Tokens that the whole step sent to each expert: int64 [layers of this stage, E]; `ranks` shared its tokens.

    A pipeline stage of dense layers only has none, [0, 0], on all of those ranks.
    """
    if not found:
        return torch.zeros(0, 0, dtype=torch.int64)
    counts = torch.stack([router.counts for router in found])
    dist.all_reduce(counts, group=ranks)
    return counts


@torch.no_grad()
def update_bias(found: list[Router], counts: Tensor, u: float) -> None:
    """Move each layer's bias by the balancing rule; counts int64 [layers of this stage, E] of the whole step."""
    for router, load in zip(found, counts, strict=True):
        router.e_score_correction_bias.copy_(balanced(router.e_score_correction_bias, load, u))
