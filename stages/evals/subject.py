"""What is evaluated, and the forward passes that the evaluations share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stages.contract import evaluated_rows
from stages.data.loading.sample import Image, Sample
from stages.data.tokens.roles import Roles
from stages.data.tokens.tokenizer import Tokenizer
from stages.errors import UserError
from stages.evals.heldout import Heldout
from stages.evals.model import Model, row
from stages.evals.whole import Whole
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Phase


@dataclass(frozen=True)
class Subject:
    """The modules of a stage, the phases whose corpora are evaluated, and the held-out documents."""

    model: Model
    stage: Stage
    phases: tuple[Phase, ...]
    heldout: Heldout
    by_corpus: dict[str, list[Tensor]] = field(default_factory=dict)  # what several evaluations read, computed once

    @property
    def modules(self) -> nn.ModuleDict:
        """The modules themselves, for evaluations that no divided model has: of towers and captions."""
        if not isinstance(self.model, Whole):
            raise ValueError(f"{self.stage.pipeline}/{self.stage.name}: no rank has the modules whole")
        return self.model.modules

    @property
    def device(self) -> torch.device:
        """Where whole modules are."""
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
        """How many rows of a length an evaluation reads, and `fewest` at least."""
        return evaluated_rows.count(self.stage.evaluation, length, fewest)

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

    def losses(self, samples: Sequence[Sample]) -> Iterator[tuple[list[Tensor], Tensor]]:
        """Part by part: loss [n] (nats) of each supervised token after each loop, and its position [n] in the row."""
        return self.model.losses(samples, self.phases[-1])

    def logits(
        self, rows: Sequence[NDArray[np.int64]], places: Sequence[range], images: Sequence[Image] = ()
    ) -> Tensor:
        """Logits [n, V] at these positions of rows of text that all show the same images, row by row."""
        roles = self.roles
        asked = [replace(row(one, images), image=roles.image, fill=roles.fill) for one in rows]
        return self.model.logits(asked, places, self.phases[-1])


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
