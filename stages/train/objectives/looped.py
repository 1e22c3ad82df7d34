"""Ouro's entropy-regularised expected loss (arXiv 2510.25741, section 3.3, eq. 4), weighted token by token.

Shapes: L loops, N supervised positions of a micro-batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from stages.contract import numbers
from stages.models.looped import log_exit_distribution
from stages.spec.resolved_phases import Loops, Phase
from stages.train.objectives.base import precision
from stages.train.objectives.causal import Causal, supervised_only


def exits(gates_LN: Tensor) -> tuple[Tensor, Tensor]:
    """p [L, N] of leaving after each loop, and its entropy H(p) [N] in nats, from the gates' logits [L, N].

    The loss of a token is sum_t p_t L_t - beta H(p): with a uniform prior, the negative ELBO up to log(loops).
    """
    log_p_LN = log_exit_distribution(list(gates_LN.unbind(0)))
    p_LN = log_p_LN.exp()
    return p_LN, -(p_LN * log_p_LN).sum(0)


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
        self._loops, self._entropy = loops.count, loops.beta
        self.extras = (*self.columns(self.phase), *self.extras)

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
            hidden, gates = self.lm(batch.tokens, batch.positions, batch.documents, None, self._loops)
            states, labels = zip(*(supervised_only(normed, rows) for normed in hidden), strict=True)
            logits = [supervised_only(gate.unsqueeze(-1), rows)[0].squeeze(-1) for gate in gates]
            # In fp32, whatever the gates are in: they weigh every loss.
            p_LN, entropy_N = exits(torch.stack(logits).float())
            expected, losses = self.regularised(torch.cat(states), torch.cat(labels), p_LN.flatten())
        with torch.no_grad():
            loops_L = torch.arange(1, self._loops + 1, dtype=p_LN.dtype, device=p_LN.device)
            values = [entropy_N.sum(), (loops_L[:, None] * p_LN).sum(), *losses.view_as(p_LN).sum(1)]
        loss = expected - numbers.value(self._entropy, self.clock) * entropy_N.sum()
        return loss / self.divisor, [*(value.detach() / self.divisor for value in values), *self.later()]
