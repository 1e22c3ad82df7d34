"""Ouro's entropy-regularised expected loss (arXiv 2510.25741, section 3.3, eq. 4), weighted token by token."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from stages.contract import numbers
from stages.models.looped import log_exit_distribution
from stages.spec.resolved_phases import Loops, Phase
from stages.train.objectives.base import precision
from stages.train.objectives.causal import Causal, supervised_only


def exits(gates: Tensor) -> tuple[Tensor, Tensor]:
    """p [loops, N] of leaving after each loop, and its entropy H(p) [N] in nats, from the gates' logits [loops, N].

    The loss of a token is sum_t p_t L_t - beta H(p): with a uniform prior, the negative ELBO up to log(loops).
    """
    log_p = log_exit_distribution(list(gates.unbind(0)))
    p = log_p.exp()
    return p, -(p * log_p).sum(0)


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
            p, entropy = exits(torch.stack(logits).float())
            expected, losses = self.regularised(torch.cat(states), torch.cat(labels), p.flatten())
        with torch.no_grad():
            loops = torch.arange(1, self._loops + 1, dtype=p.dtype, device=p.device)
            values = [entropy.sum(), (loops[:, None] * p).sum(), *losses.view_as(p).sum(1)]
        loss = expected - numbers.value(self._entropy, self.clock) * entropy.sum()
        return loss / self.divisor, [*(value.detach() / self.divisor for value in values), *self.later()]
