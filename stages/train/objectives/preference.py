"""Preference training: a policy is moved towards the chosen of two answers, measured from a frozen reference.

With r = log p_policy(answer | prompt) - log p_reference(answer | prompt) of the chosen (c) and the rejected (r) answer,
a pair's loss is

- dpo: -log sigmoid(beta (r_c - r_r)) (Rafailov et al., arXiv 2305.18290, eq. 7);
- apo_zero: -sigmoid(beta r_c) + sigmoid(beta r_r), which raises the chosen answer and lowers the rejected one each for
  itself (D'Oosterlinck et al., arXiv 2408.06266). Its value lies in [-1, 1] and begins at 0; where other
  trainers write 1 - sigmoid, it begins at 1.

An answer's log-probability is the sum over its tokens or, with `answers: mean`, their mean: length-normalised DPO
(Lambert et al., arXiv 2411.15124, section 5.1.2). `nll` adds that much of -log p_policy(chosen), a mean over its tokens
(Dubey et al., arXiv 2407.21783, section 4.1.4; Pang et al., arXiv 2404.19733, eq. 1). A step's loss is the mean over
its pairs.

How much each token's log-probability counts in the gradient is known once both models' losses are: d loss / d log p
of an answer is the same for all its tokens. So the losses are taken first, without a graph and in chunks, and then the
head once more with these weights, which gives the exact gradient; logits never exist as a whole.

Shapes: N targets of a micro-batch, S = 2 answers of each of its pairs, the chosen one first, P pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, assert_never

import numpy as np
import torch
from torch import Tensor, nn

from stages.contract.ledger import Step
from stages.errors import UserError
from stages.models.ops import IGNORED, token_losses, weighted_head_loss
from stages.models.transfer import pick, to_device
from stages.spec.resolved_phases import Preference as Settings
from stages.train.objectives.base import Rows
from stages.train.objectives.causal import Causal, supervised_only
from stages.train.objectives.routed import Routed

if TYPE_CHECKING:
    from stages.data.loading.sample import Sample

COLUMNS = ("margin", "accuracy", "chosen_ratio", "rejected_ratio")
LIKELIHOOD = "chosen_nll"


def columns(settings: Settings) -> tuple[str, ...]:
    """Metric columns, means over a step's pairs: beta (r_c - r_r), the share of pairs in which that is above 0, r_c and
    r_r (of means where `answers` says so), and -log p a token of the chosen answer where the loss has it.
    """
    return (*COLUMNS, LIKELIHOOD) if settings.nll else COLUMNS


@dataclass(frozen=True)
class Pairs:
    """What pairs come to, in fp64: loss [P] and margin [P]; ratios [P, 2], r of both answers; nll [P] a token of the
    chosen one; weights [P, 2], d loss / d(-log p) of each answer, the same for all its tokens.
    """

    loss: Tensor
    margin: Tensor
    ratios: Tensor
    nll: Tensor
    weights: Tensor

    def measured(self, settings: Settings) -> list[Tensor]:
        """Sums over the pairs, in the order of `columns`."""
        right = (self.margin > 0).double()
        found = [self.margin, right, self.ratios[:, 0], self.ratios[:, 1], *([self.nll] if settings.nll else [])]
        return [one.sum() for one in found]


def of_losses(policy_S: Tensor, reference_S: Tensor, lengths_S: Tensor, settings: Settings) -> Pairs:
    """Pairs from -log p of whole answers under both models and the answers' lengths in tokens, fp64 [S] each."""
    scale_P2 = (1 / lengths_S if settings.answers == "mean" else torch.ones_like(lengths_S)).view(-1, 2)
    ratios_P2 = (reference_S - policy_S).view(-1, 2) * scale_P2
    rewards_P2 = settings.beta * ratios_P2
    margin_P = rewards_P2[:, 0] - rewards_P2[:, 1]
    match settings.loss:
        case "dpo":
            loss_P = nn.functional.softplus(-margin_P)  # -log sigmoid(margin)
            pull_P = torch.sigmoid(-margin_P)
            weights_P2 = torch.stack([pull_P, -pull_P], dim=1)
        case "apo_zero":
            likely_P2 = torch.sigmoid(rewards_P2)
            loss_P = likely_P2[:, 1] - likely_P2[:, 0]
            steep_P2 = likely_P2 * (1 - likely_P2)
            weights_P2 = torch.stack([steep_P2[:, 0], -steep_P2[:, 1]], dim=1)
        case _:
            assert_never(settings.loss)
    nll_P = (policy_S / lengths_S).view(-1, 2)[:, 0]
    weights_P2 = settings.beta * scale_P2 * weights_P2
    if settings.nll:
        loss_P = loss_P + settings.nll * nll_P
        weights_P2[:, 0] += settings.nll / lengths_S.view(-1, 2)[:, 0]
    return Pairs(loss_P, margin_P, ratios_P2, nll_P, weights_P2)


class Preference(Causal):
    """See the module's docstring. `frozen` has the reference, under the language model's name."""

    def __init__(self, *args: Any, frozen: nn.ModuleDict | None) -> None:
        super().__init__(*args)
        if self.phase.preference is None or frozen is None:
            raise ValueError(f"phase {self.phase.name}: preference training without its settings or its reference")
        self._settings = self.phase.preference
        (name,) = [name for name, module in self.modules.items() if module is self.lm]
        self._reference: Any = frozen[name]
        self._lengths: list[list[int]] = []  # of each sample's answers, in tokens
        self._here: list[int] = []  # of the answers of the micro-batch in work
        self._measured: list[Tensor] = []  # its sums
        self.extras = (*self.extras, *columns(self._settings))

    def begin(self, step: Step) -> int:
        """Read the step's samples and count the targets of each answer. Raises UserError where one has none."""
        batches = super().begin(step)
        self._lengths = [answers(sample) for sample in self._samples]
        return batches

    @property
    def divisor(self) -> int:
        """The step's pairs."""
        return max(sum(map(len, self._lengths)) // 2, 1)

    def rows(self, index: int) -> Rows:
        """One micro-batch on the device."""
        self._here = [length for sample in self._cuts[index] for length in self._lengths[sample]]
        return super().rows(index)

    def loss(self, rows: Rows) -> Tensor:
        """Summed over the micro-batch's pairs, with its exact gradient."""
        settings, lengths = self._settings, np.array(self._here, dtype=np.int64)
        lengths_S = to_device(lengths.astype(np.float64), self.device)
        answer_N = to_device(np.repeat(np.arange(len(lengths)), lengths), self.device)
        with torch.no_grad():  # before the policy's pass, whose graph would wait next to it
            reference_S = self._summed(self._reference, *self._states(self._reference, rows))
        states_ND, labels_N = self._states(self.lm, rows)
        with torch.no_grad():
            found = of_losses(self._summed(self.lm, states_ND, labels_N), reference_S, lengths_S, settings)
            self._measured = found.measured(settings)
            value = found.loss.sum().float()
        if not torch.is_grad_enabled():
            return value
        weights_N = pick(found.weights.flatten(), answer_N).float()
        linear = weighted_head_loss(states_ND, self.lm.head, labels_N, weights_N, softcap=self.lm.softcap)[0]
        return linear - linear.detach() + value

    def later(self) -> list[Tensor]:
        """The part's share of the columns."""
        return [*super().later(), *(one / self.divisor for one in self._measured)]

    @staticmethod
    def _states(model: Any, rows: Rows) -> tuple[Tensor, Tensor]:
        """A model's states [N, D] at the targets, and these [N]."""
        return supervised_only(model(rows.batch.tokens, rows.batch.positions, rows.batch.documents, None), rows)

    def _summed(self, model: Any, states_ND: Tensor, labels_N: Tensor) -> Tensor:
        """-log p of each answer, whose tokens lie one after the other: fp64 [S]."""
        losses_N = token_losses(states_ND, model.head, labels_N, model.softcap).double()
        return torch.stack([answer.sum() for answer in losses_N.split(self._here)]) if self._here else losses_N


class RoutedPreference(Routed, Preference):
    """The same of a model with experts, whose router is kept balanced."""


def answers(sample: Sample) -> list[int]:
    """Targets of each answer of a row: chosen, rejected, chosen, ... Raises UserError where an answer has none."""
    learned = sample.segments[sample.labels != IGNORED]
    counts: list[int] = np.bincount(learned, minlength=int(sample.segments.max()) + 1).tolist()
    if 0 in counts:
        corpus, document, *_ = sample.spans[counts.index(0) // 2]
        raise UserError(
            f"corpus {corpus}, document {document + 1}: an answer has no token but those that end a turn; allowed with "
            "`turn_ends: masked`: answers that say something. Leave the row out, or write `turn_ends: learned`."
        )
    return counts
