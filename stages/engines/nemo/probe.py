"""Rows by which a model is tried before it trains (`slope`, `forward`): few, short, of words drawn at random.

Their targets are drawn too: a model that has learnt the data's is near the end of its slope there. Rows end at other
places, and so do their documents, of which each has two: micro-batches and ranks have different numbers of targets, as
a mean over each of them would show.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from stages.data.sample import UNSUPERVISED, Sample
from stages.engines.nemo.config.model import language_model
from stages.engines.nemo.divided import Divided
from stages.evals.model import row
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Phase

LENGTH = 64  # positions of a row, or as many more as ranks divide
SEED = 1


def shaped(phase: Phase, model: Divided) -> Phase:
    """The phase with the shape of these rows: at most two in a micro-batch."""
    length = model.length([row(np.zeros(LENGTH, dtype=np.int64))])
    return phase.model_copy(update={"context": length, "micro_batch": min(2, phase.micro_batch)})


def rows(stage: Stage, shape: Phase, count: int) -> list[Sample]:
    """The first `count` of them, the same on every rank."""
    return list(_rows(language_model(stage).vocab, shape, count))


def _rows(vocab: int, shape: Phase, count: int) -> Iterator[Sample]:
    drawn, length = np.random.default_rng(SEED), shape.context
    for number in range(count):
        here = length - number * 5 % (length // 2)
        first = here * (2 + number % 3) // 6
        tokens, labels = drawn.integers(0, vocab, (2, length))[:, :here]
        labels[[first - 1, here - 1]] = UNSUPERVISED
        at, second = np.arange(here), np.arange(here) >= first
        yield Sample(
            tokens=tokens,
            labels=labels,
            segments=second.astype(np.int32),
            positions=np.where(second & shape.document_mask, at - first, at),
            images=(),
            spans=(),
            image=None,
        )
