"""What a pair of answers comes to under policy and reference after the last update, as `stages.engines.pair_probe` has
it of the torch engine: by the phase's own work, and by each model's evaluation. All ranks compute their parts of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any

import numpy as np
import torch

from stages.data.loading.sample import UNSUPERVISED, Sample
from stages.engines.nemo import families
from stages.engines.nemo.divided import Divided
from stages.engines.nemo.optimizer import Mover
from stages.engines.nemo.step import Steps
from stages.engines.pair_probe import first_pair
from stages.guards.phase_log import Rows
from stages.guards.report import PairReport
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Phase
from stages.train.ranks import Ranks


@torch.no_grad()
def probe(
    stage: Stage, chunks: list[Any], reference: list[Any], moved: Mover, rows: Rows, ranks: Ranks
) -> PairReport | None:
    """Of the first pair of the last step, on every rank; None where there is no reference. Nothing is moved."""
    phase = stage.phases[-1]
    if not reference:
        return None
    first, models = first_pair(phase, rows), [Divided(stage, one, ranks) for one in (chunks, reference)]
    shape = phase.model_copy(update={"context": models[0].length([first]), "micro_batch": 1})
    with models[0].evaluating():
        work = families.preference(stage, shape, chunks, reference)
        with closing(Steps(stage, shape, chunks, moved, work, rows, ranks)) as steps:
            found = steps.measured([first])
        policy, other = (_answers(model, first, phase) for model in models)
    return PairReport((found["chosen_ratio"], found["rejected_ratio"]), policy, other)


def _answers(model: Divided, pair: Sample, phase: Phase) -> tuple[float, float]:
    """log p of the chosen and of the rejected answer, as sums over their tokens."""
    losses = torch.cat([found for (found,), _ in model.losses([pair], phase)]).numpy()
    chosen, rejected = np.bincount(_whose(pair), weights=-losses, minlength=2)
    return float(chosen), float(rejected)


def _whose(pair: Sample) -> Sequence[int]:
    """The answer that each target is of."""
    found: Sequence[int] = pair.segments[pair.labels != UNSUPERVISED]
    return found
