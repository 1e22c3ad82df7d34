"""Rows by which a model is tried before it trains (`slope`, `forward`): few, short, of words drawn at random.

Their targets are drawn too: a model that has learnt the data's is near the end of its slope there. Rows end at other
places, and so do their documents, of which each has two: micro-batches and ranks have different numbers of targets, as
a mean over each of them would show. A model that sees has an image in each document.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from stages.data.loading.sample import UNSUPERVISED, Image, Sample
from stages.data.tokens.roles import LOCAL
from stages.engines.nemo.config.model import language_model
from stages.engines.nemo.divided import Divided
from stages.evals.model import row
from stages.spec.resolved import Stage
from stages.spec.resolved_models import MoonViTModel, ProjectorModel
from stages.spec.resolved_phases import Phase

LENGTH = 64  # positions of a row, or as many more as ranks divide
SEED = 1
CELLS = ((1, 3), (2, 2))  # of a row's two images, one in each document: as many tokens as cells


def shaped(phase: Phase, model: Divided) -> Phase:
    """The phase with the shape of these rows: at most two in a micro-batch."""
    length = model.length([row(np.zeros(LENGTH, dtype=np.int64))])
    return phase.model_copy(update={"context": length, "micro_batch": min(2, phase.micro_batch)})


def rows(stage: Stage, shape: Phase, count: int) -> list[Sample]:
    """The first `count` of them, the same on every rank."""
    return list(_rows(language_model(stage).vocab, shape, count, _sides(stage)))


def _sides(stage: Stage) -> tuple[int, int] | None:
    """Pixels a side of what one token of an image stands for, and channels; None for a model that sees none."""
    tower, projector = (stage.modules.get(name) for name in ("vit", "projector"))
    if isinstance(tower, MoonViTModel) and isinstance(projector, ProjectorModel):
        return tower.patch * projector.merge, tower.channels
    return None


def _rows(vocab: int, shape: Phase, count: int, sides: tuple[int, int] | None) -> Iterator[Sample]:
    drawn, length = np.random.default_rng(SEED), shape.context
    for number in range(count):
        here = length - number * 5 % (length // 2)
        first = here * (2 + number % 3) // 6
        tokens, labels = drawn.integers(0, vocab, (2, length))[:, :here]
        labels[[first - 1, here - 1]] = UNSUPERVISED
        at, second = np.arange(here), np.arange(here) >= first
        images = [] if sides is None else [_image(drawn, cells, *sides) for cells in CELLS]
        if sides is not None:
            tokens[tokens == LOCAL.image] = LOCAL.fill
            for start, (height, width) in zip((1, first), CELLS, strict=True):
                tokens[start : start + height * width] = LOCAL.image
        yield Sample(
            tokens=tokens,
            labels=labels,
            segments=second.astype(np.int32),
            positions=np.where(second & shape.document_mask, at - first, at),
            images=tuple(images),
            spans=(),
            image=None if sides is None else LOCAL.image,
        )


def _image(drawn: np.random.Generator, cells: tuple[int, int], side: int, channels: int) -> Image:
    height, width = (number * side for number in cells)
    return Image(drawn.uniform(-1, 1, (height, width, channels)).astype(np.float32))
