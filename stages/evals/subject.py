"""What is evaluated, and the forward passes that the evaluations share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stages.data.heldout import Heldout
from stages.data.roles import Roles
from stages.data.sample import Sample
from stages.data.tokenizer import Tokenizer
from stages.errors import UserError
from stages.models import kimi_vl
from stages.models.ops import token_losses
from stages.models.transfer import pick
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Phase
from stages.train.objectives.base import collate, language_model, patch_size, precision
from stages.train.objectives.causal import supervised_only

TOKENS_AT_ONCE = 8192  # rows are evaluated in batches of about this many tokens, which bounds memory
FULL_NUMBER = 256  # up to this length a row is read `samples` times; longer rows are fewer, for as many tokens in all


@dataclass(frozen=True)
class Subject:
    """The modules of a stage, the phases whose corpora are evaluated, and the held-out documents."""

    modules: nn.ModuleDict
    stage: Stage
    phases: tuple[Phase, ...]
    heldout: Heldout
    by_corpus: dict[str, list[Tensor]] = field(default_factory=dict)  # what several evaluations read, computed once

    @property
    def lm(self) -> Any:
        """The language model."""
        return language_model(self.stage, self.modules)

    @property
    def device(self) -> torch.device:
        """Where the modules are."""
        return next(self.modules.parameters()).device

    @property
    def context(self) -> int:
        """Length of held-out rows, in tokens."""
        return self.stage.evaluation.context

    @property
    def samples(self) -> int:
        """How many rows, pairs or questions each evaluation reads from each corpus."""
        return self.stage.evaluation.samples

    def rows(self, length: int, fewest: int) -> int:
        """How many rows of a length an evaluation reads: about as many tokens at every length, and `fewest` rows."""
        return min(self.samples, max(fewest, self.samples * FULL_NUMBER // length))

    @property
    def loops(self) -> int | None:
        """Ouro's number of loops in the last phase; None for models without loops."""
        last = self.phases[-1].loops
        return None if last is None else last.count

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the corpora, which is one for a whole lineage."""
        return self.heldout.tokenizer(self.phases[0].sources[0].corpus)

    @property
    def roles(self) -> Roles:
        """What the special tokens of the corpora are for."""
        return self.tokenizer.roles

    def corpora(self, *kinds: str) -> list[str]:
        """Corpora of these kinds that the phases read, in their order, each once. Raises UserError if there is none."""
        names = dict.fromkeys(source.corpus for phase in self.phases for source in phase.sources)
        found = [name for name in names if self.heldout.kind(name) in kinds]
        if not found:
            where = f"{self.stage.pipeline}/{self.stage.name}"
            raise UserError(
                f"{where}: evaluate: needs a corpus of kind {' or '.join(kinds)}, found {', '.join(names) or 'none'}. "
                "Leave the evaluation out, or add such a corpus to the data."
            )
        return found

    def hidden(self, batch: kimi_vl.Batch) -> Tensor:
        """Last normed states [B, T, D]; for Ouro those of the last loop."""
        return self.hidden_by_loop(batch)[-1]

    def hidden_by_loop(self, batch: kimi_vl.Batch) -> list[Tensor]:
        """Normed states [B, T, D] after each loop; one entry for models without loops."""
        embeddings = kimi_vl.embed(self.modules, batch) if patch_size(self.stage) is not None else None
        inputs = (batch.tokens, batch.positions, batch.documents, embeddings)
        with precision(self.stage):
            return [self.lm(*inputs)] if self.loops is None else self.lm(*inputs, self.loops)[0]

    def losses(self, samples: Sequence[Sample]) -> Iterator[tuple[list[Tensor], Tensor]]:
        """Batch by batch: loss [n] (nats) of each supervised token after each loop, and its position [n] in the row."""
        for part in batches(samples):
            rows = collate(part, self.phases[-1], patch_size(self.stage), self.device)
            places = torch.arange(rows.labels.shape[1], device=self.device).expand_as(rows.labels)
            by_loop = []
            for hidden in self.hidden_by_loop(rows.batch):
                states, labels = supervised_only(hidden, rows)
                by_loop.append(token_losses(states, self.lm.head, labels, self.lm.softcap).double())
            yield by_loop, pick(places.flatten(), rows.supervised)

    def text_batch(self, rows: Sequence[NDArray[np.int64]]) -> kimi_vl.Batch:
        """Rows of text of different lengths as one batch, filled up behind, where causality hides the filling."""
        tokens = np.full((len(rows), max(map(len, rows))), self.roles.fill, dtype=np.int64)
        for to, row in zip(tokens, rows, strict=True):
            to[: len(row)] = row
        placed = torch.from_numpy(tokens).to(self.device)
        positions = torch.arange(placed.shape[1], device=self.device).expand_as(placed)
        return kimi_vl.Batch(placed, positions, None, None, (), None)


def batches(samples: Sequence[Sample]) -> Iterator[list[Sample]]:
    """Samples in order, in lists of about TOKENS_AT_ONCE tokens."""
    part: list[Sample] = []
    for sample in samples:
        part.append(sample)
        if sum(len(member.tokens) for member in part) + len(sample.tokens) > TOKENS_AT_ONCE:
            yield part
            part = []
    if part:
        yield part


def plain_row(tokens: NDArray[np.int64]) -> Sample:
    """A row of one stretch of text, every token of which but the first is predicted: [T + 1] tokens -> T positions."""
    length = len(tokens) - 1
    return Sample(
        tokens=tokens[:-1],
        labels=tokens[1:],
        segments=np.zeros(length, dtype=np.int32),
        positions=np.arange(length, dtype=np.int64),
        images=(),
        spans=(),
    )
