"""What a pair of answers comes to under policy and reference after the last update: as the objective has it, and from
both models' log-probabilities alone.

Before the first update both models are one, and the loss is the same whichever is read as which. Afterwards they are
not: an objective that has exchanged them measures the opposite.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from stages.contract import ledger
from stages.contract.ledger import Step
from stages.data.loading.sample import UNSUPERVISED, PairRow, Sample
from stages.guards.phase_log import Rows
from stages.guards.report import PairReport
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Phase
from stages.train import objectives
from stages.train.objectives.base import collate, precision

CHUNK = 256  # targets whose logits are there at once


@dataclass(frozen=True)
class _OneRow:
    """A phase's data, if this sample were all of it."""

    sample: Sample

    def samples(self, first: int, count: int, tail: int) -> list[Sample]:
        """The one row."""
        return [self.sample]

    def pairs(self, first: int, count: int, tail: int) -> list[PairRow]:
        """None: it is a row of tokens."""
        return []


def first_pair(phase: Phase, data: Rows) -> Sample:
    """The first pair of the phase's last step, alone in a row."""
    step = ledger.step_at(phase, phase.budget - 1)
    (row,) = data.samples(step.first_sample, 1, step.tail if step.sequences == 1 else 0)
    return row.cut(int(((row.segments == 0) | (row.segments == 1)).sum()), 1)


@torch.no_grad()
def probe(stage: Stage, modules: nn.ModuleDict, frozen: nn.ModuleDict | None, data: Rows) -> PairReport | None:
    """Of the first pair of the last step, whose rows `data` reads; None where no other model is read."""
    phase = stage.phases[-1]
    if frozen is None or phase.preference is None:
        return None
    first = first_pair(phase, data)
    device = next(modules.parameters()).device
    objective = objectives.make(stage, phase, modules, _OneRow(first), device, frozen=frozen)
    with closing(objective):
        objective.begin(Step(0, 0, len(first.tokens), 0, 1, 0))
        found = dict(zip(objective.extras, objective.part(0)[1], strict=True))
    (name,) = stage.read_frozen
    rows = collate([first], phase, None, device)
    with precision(stage):
        policy, reference = (_answers(model, rows, first) for model in (modules[name], frozen[name]))
    return PairReport((float(found["chosen_ratio"]), float(found["rejected_ratio"])), policy, reference)


def _answers(model: Any, rows: Any, sample: Sample) -> tuple[float, float]:
    """log p of the chosen and of the rejected answer of a pair, as sums over their tokens."""
    hidden_TD = model(rows.batch.tokens, rows.batch.positions, rows.batch.documents, None)[0]
    totals = [0.0, 0.0]
    for some in _chunks(np.flatnonzero(sample.labels != UNSUPERVISED)):
        logits = model.logits(hidden_TD[torch.from_numpy(some).to(hidden_TD.device)]).double()
        targets = torch.from_numpy(sample.labels[some]).to(logits.device)
        found = torch.log_softmax(logits, dim=-1).gather(1, targets[:, None])[:, 0]
        for answer, value in zip(sample.segments[some].tolist(), found.tolist(), strict=True):
            totals[answer] += value
    return totals[0], totals[1]


def _chunks(places: Any) -> Sequence[Any]:
    return [places[start : start + CHUNK] for start in range(0, len(places), CHUNK)]
