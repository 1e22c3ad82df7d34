"""Modules that this process has whole, as evaluations ask them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stages.data.loading.sample import Sample
from stages.evals.model import evaluation_mode
from stages.models import kimi_vl
from stages.models.ops import token_losses
from stages.models.transfer import pick
from stages.models.vision_packing import pack
from stages.spec.resolved import Stage
from stages.spec.resolved_models import Rope
from stages.spec.resolved_phases import Phase
from stages.train.objectives.base import collate, language_model, patch_size, precision
from stages.train.objectives.causal import supervised_only

TOKENS_AT_ONCE = 8192  # rows are evaluated in batches of about this many tokens, which bounds memory


@dataclass(frozen=True)
class Whole:
    """A `Model`: the torch engine's own modules, on one device."""

    stage: Stage
    modules: nn.ModuleDict

    @property
    def lm(self) -> Any:
        """The language model."""
        return language_model(self.stage, self.modules)

    @property
    def device(self) -> torch.device:
        """Where the modules are."""
        return next(self.modules.parameters()).device

    def losses(self, samples: Sequence[Sample], phase: Phase) -> Iterator[tuple[list[Tensor], Tensor]]:
        """Batch by batch."""
        for part in batches(samples):
            rows = collate(part, phase, patch_size(self.stage), self.device)
            places = torch.arange(rows.labels.shape[1], device=self.device).expand_as(rows.labels)
            by_loop = []
            for hidden in self._hidden(rows.batch, phase):
                states, labels = supervised_only(hidden, rows)
                by_loop.append(token_losses(states, self.lm.head, labels, self.lm.softcap).double())
            yield by_loop, pick(places.flatten(), rows.supervised)

    def logits(self, rows: Sequence[Sample], places: Sequence[range], phase: Phase) -> Tensor:
        """In batches of rows, filled up behind, where causality hides the filling."""
        at_once, found = max(1, TOKENS_AT_ONCE // max(len(one.tokens) for one in rows)), []
        for first in range(0, len(rows), at_once):
            part = slice(first, first + at_once)
            numbers = [number for number, one in enumerate(places[part]) for _ in one]
            hidden = self._hidden(self._batch(rows[part]), phase)[-1]
            chosen = torch.tensor([place for one in places[part] for place in one], device=hidden.device)
            found.append(self.lm.logits(hidden[torch.tensor(numbers, device=hidden.device), chosen]))
        return torch.cat(found)

    @contextmanager
    def turned_by(self, rope: Rope) -> Iterator[None]:
        """Within the block the language model has these rotary positions."""
        lm = self.lm
        own = lm.rotary.rope
        lm.turn_by(rope)
        try:
            yield
        finally:
            lm.turn_by(own)

    def evaluating(self) -> AbstractContextManager[None]:
        """Within the block the modules are in evaluation mode."""
        return evaluation_mode([self.modules])

    def _hidden(self, batch: kimi_vl.Batch, phase: Phase) -> list[Tensor]:
        """Normed states [B, T, D] after each loop; one entry for models without loops."""
        embeddings = kimi_vl.embed(self.modules, batch) if patch_size(self.stage) is not None else None
        inputs = (batch.tokens, batch.positions, batch.documents, embeddings)
        with precision(self.stage, kept=False):
            return [self.lm(*inputs)] if phase.loops is None else self.lm(*inputs, phase.loops.count)[0]

    def _batch(self, rows: Sequence[Sample]) -> kimi_vl.Batch:
        tokens = np.full((len(rows), max(len(one.tokens) for one in rows)), rows[0].fill, dtype=np.int64)
        for to, one in zip(tokens, rows, strict=True):
            to[: len(one.tokens)] = one.tokens
        placed = torch.from_numpy(tokens).to(self.device)
        positions = torch.arange(placed.shape[1], device=self.device).expand_as(placed)
        images, patch, image = [one.pixels for row in rows for one in row.images], patch_size(self.stage), rows[0].image
        if not images or patch is None or image is None:
            return kimi_vl.Batch(placed, positions, None, None, (), None)
        pixels, grids = pack(images, patch)
        where = kimi_vl.places(tokens, image, self.device)
        return kimi_vl.Batch(placed, positions, None, pixels.to(self.device), grids, where)


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
