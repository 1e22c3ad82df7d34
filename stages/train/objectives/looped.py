"""Ouro's entropy-regularised expected loss (arXiv 2510.25741, section 3.3, eq. 4), weighted token by token."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from stages.models.ops import cross_entropy
from stages.models.ouro import log_exit_distribution
from stages.spec.resolved import Loops, Phase
from stages.train.objectives.base import precision
from stages.train.objectives.causal import Causal, supervised_only


def expected_loss(losses: Tensor, gates: Tensor, beta: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return sum_t p_t L_t - beta H(p) per token [N], with H(p) [N] in nats and p [loops, N].

    `losses` and `gates` (logits) are [loops, N]. With a uniform prior this is the negative ELBO up to log(loops).
    """
    log_p = log_exit_distribution(list(gates.unbind(0)))
    p = log_p.exp()
    entropy = -(p * log_p).sum(0)
    return (p * losses).sum(0) - beta * entropy, entropy, p


def settings(phase: Phase) -> Loops:
    """The phase's loops; ValueError where an Ouro model is trained without them."""
    if phase.loops is None:
        raise ValueError(f"phase {phase.name}: an Ouro model is trained without `loops`")
    return phase.loops


class Looped(Causal):
    """Next-token loss after every loop, weighted by the probability of leaving there."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        loops = settings(self.phase)
        self._loops, self._beta = loops.count, loops.beta
        self.extras = self.columns(self.phase)

    @staticmethod
    def columns(phase: Phase) -> tuple[str, ...]:
        """Metric columns of a phase: they depend on its number of loops."""
        loops = range(1, settings(phase).count + 1)
        return ("entropy", "exit_loop", *(f"loss_loop_{loop}" for loop in loops))

    def part(self, index: int) -> tuple[Tensor, list[Tensor]]:
        """The micro-batch's share of the loss, of the mean entropy, exit loop, and loss after each loop."""
        with precision(self.stage):
            rows = self.rows(index)
            batch = rows.batch
            hidden, gates = self.lm(batch.tokens, batch.positions, batch.segments, None, self._loops)
            supervised = [supervised_only(states, rows.labels) for states in hidden]
            losses = torch.stack([cross_entropy(self.lm.logits(states), labels) for states, labels in supervised])
            logits = [supervised_only(gate.unsqueeze(-1), rows.labels)[0].squeeze(-1) for gate in gates]
        loss, entropy, p = expected_loss(losses, torch.stack(logits).float(), self._beta)
        with torch.no_grad():
            loops = torch.arange(1, self._loops + 1, dtype=p.dtype, device=p.device)
            values = [entropy.sum(), (loops[:, None] * p).sum(), *losses.sum(1)]
        return loss.sum() / self.divisor, [value.detach() / self.divisor for value in values]
