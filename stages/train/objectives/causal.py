"""Next-token cross entropy: on text, on text given images (align, joint), and on answers only (sft).

Which positions are supervised is the data's doing (labels), which modules move is the stage's (`trained`), so all
four objectives are one computation.

Shapes: B rows, T positions, N supervised positions of all rows, D the model's width.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from stages.contract import numbers
from stages.contract.ledger import Step
from stages.errors import UserError
from stages.models import kimi_vl
from stages.models.ops import head_loss, regularised_head_loss
from stages.models.transfer import pick
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Phase
from stages.train.objectives.base import HOST, Rows, collate, cut, language_model, patch_size, precision
from stages.train.prefetch import Prefetch
from stages.train.ranks import ALONE, Ranks
from stages.train.reduce import Gradients

if TYPE_CHECKING:
    from stages.data.loading.sample import Sample

    Read = Callable[[int, int, int], list[Sample]]  # first sample, how many, tail of the last one


REPLAY = ("supervised_answers", "supervised_text")  # columns of a phase that replays text next to conversations


def z_columns(phase: Phase) -> tuple[str, ...]:
    """The metric column of a phase with a z-loss: log(Z)^2, a mean over the targets before it is weighed; 0 at steps
    whose weight is 0, where it is not computed.
    """
    return ("z_squared",) if phase.z_loss is not None else ()


def replay_columns(phase: Phase) -> tuple[str, ...]:
    """Metric columns that say how many targets are of answers, and how many of replayed text."""
    return REPLAY if phase.replayed else ()


class Causal:
    """Sum of -log p over the supervised positions, divided by their number in the whole step."""

    own: tuple[str, ...] = ()  # metric columns of the objective itself, whatever its data

    def __init__(
        self, stage: Stage, phase: Phase, modules: nn.ModuleDict, read: Read, device: torch.device, ranks: Ranks = ALONE
    ) -> None:
        self.stage, self.phase, self.modules, self.read, self.device = stage, phase, modules, read, device
        self.ranks = ranks
        self.lm: Any = language_model(stage, modules)
        self._patch = patch_size(stage)
        self._samples: list[Sample] = []
        self._cuts: list[range] = []
        self._rows: dict[int, Rows] = {}  # this rank's, on the host
        self._supervised = 0
        self.clock = phase.clock_start  # at which the step ends
        self._counted = dict.fromkeys(replay_columns(phase), 0)
        self._squares: list[Tensor] = []  # of the last part, where the phase has a z-loss
        self.extras = (*self.own, *z_columns(phase), *self._counted)
        self._prefetch = Prefetch(self._prepare, phase, device)

    def begin(self, step: Step) -> int:
        """Read the step's samples and count what is supervised in all of them, before any backward pass."""
        self.clock = self.phase.clock_start + step.end
        self._samples, self._rows = self._prefetch.take(step)
        self._cuts = cut(len(self._samples), self.phase.micro_batch)
        self._supervised = supervised(self._samples, self.phase, step)
        if self._counted:
            self._counted = by_kind(self._samples, self.phase.replayed)
        return len(self._cuts)

    def _prepare(self, step: Step) -> tuple[list[Sample], dict[int, Rows]]:
        """The step's samples, and this rank's micro-batches of them."""
        samples = self.read(step.first_sample, step.sequences, step.tail)
        cuts = cut(len(samples), self.phase.micro_batch)
        parts = {index: [samples[i] for i in cuts[index]] for index in self.ranks.share(len(cuts))}
        return samples, {index: collate(part, self.phase, self._patch, HOST) for index, part in parts.items()}

    def close(self) -> None:
        """End what prepares the steps' data."""
        self._prefetch.close()

    def supervised(self) -> int:
        """Supervised tokens of the step."""
        return self._supervised

    def part(self, index: int) -> tuple[Tensor, list[Tensor]]:
        """The micro-batch's share of the step's loss."""
        with precision(self.stage):
            rows = self.rows(index)
            return self.loss(rows) / self.divisor, self.later()

    def whole_batch(self) -> Gradients | None:
        """Nothing: every gradient belongs to a micro-batch."""
        return None

    def whole_values(self) -> dict[str, Tensor]:
        """Targets of answers and of replayed text, where a phase has both."""
        return {column: torch.full((), float(count), device=self.device) for column, count in self._counted.items()}

    def later(self) -> list[Tensor]:
        """A part's share of the mean of log(Z)^2, and what it puts into columns that are known for the whole step."""
        squares = [one / self.divisor for one in self._squares]
        return [*squares, *(torch.zeros((), device=self.device) for _ in self._counted)]

    def finish(self) -> None:
        """Nothing to do."""

    @property
    def divisor(self) -> int:
        """A step without any supervised token has loss 0 and gradient 0."""
        return max(self._supervised, 1)

    def rows(self, index: int) -> Rows:
        """One micro-batch on the device."""
        return self._rows[index].to(self.device)

    def embeddings(self, rows: Rows) -> Tensor | None:
        """Token embeddings with images in place, or None for a stage without a vision tower."""
        return None if self._patch is None else kimi_vl.embed(self.modules, rows.batch)

    def loss(self, rows: Rows) -> Tensor:
        """Summed cross entropy (nats) of the supervised positions, with the z-loss where the phase has one."""
        batch = rows.batch
        hidden_BTD = self.lm(batch.tokens, batch.positions, batch.documents, self.embeddings(rows))
        states_ND, labels_N = supervised_only(hidden_BTD, rows)
        if self.phase.z_loss is None:
            return head_loss(states_ND, self.lm.head, labels_N, self.lm.softcap)
        return self.regularised(states_ND, labels_N, torch.ones_like(labels_N, dtype=torch.float32))[0]

    def regularised(self, states_ND: Tensor, labels_N: Tensor, weights_N: Tensor) -> tuple[Tensor, Tensor]:
        """The weighted loss of states [N, D] with the z-loss, if there is one, and the cross entropies [N]."""
        z = 0.0 if self.phase.z_loss is None else numbers.value(self.phase.z_loss, self.clock)
        total, losses_N, squares_N = regularised_head_loss(
            states_ND, self.lm.head, labels_N, weights_N, z, softcap=self.lm.softcap
        )
        self._squares = [] if self.phase.z_loss is None else [torch.dot(squares_N, weights_N.detach())]
        return total, losses_N


def supervised(samples: Sequence[Sample], phase: Phase, step: Step) -> int:
    """Targets of all rows of a step. Raises UserError where conversations have no answer to learn from."""
    count = sum(sample.targets for sample in samples)
    if not count and phase.answers_alone:
        last = step.first_sample + step.sequences - 1
        raise UserError(
            f"phase {phase.name}: step {step.index + 1} (samples {step.first_sample} to {last}) has no answer "
            f"to learn from: {', '.join(s.corpus for s in phase.sources)}; if it is the last, partial step, "
            f"make the budget a multiple of the context, {phase.context}"
        )
    return count


def by_kind(samples: Sequence[Sample], replayed: Collection[str]) -> dict[str, int]:
    """By column, targets in rows of conversations and in rows of replayed text; a row is of one corpus."""
    text = sum(sample.targets for sample in samples if sample.spans and sample.spans[0][0] in replayed)
    everything = sum(sample.targets for sample in samples)
    return dict(zip(REPLAY, (everything - text, text), strict=True))


def supervised_only(hidden_BTD: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
    """States [N, D] and labels [N] of the supervised positions of hidden [B, T, D]: the head is for those only."""
    return pick(hidden_BTD.flatten(0, 1), rows.supervised), pick(rows.labels.flatten(), rows.supervised)
