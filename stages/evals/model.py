"""What evaluations ask of a language model, whatever computes it and however it is divided over ranks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from stages.data.loading.sample import UNSUPERVISED, Image, Sample
from stages.spec.resolved_models import Rope
from stages.spec.resolved_phases import Phase


class Model(Protocol):
    """A stage's modules as evaluations ask them. Where ranks share one, all ask the same and get the same answers."""

    def losses(self, samples: Sequence[Sample], phase: Phase) -> Iterator[tuple[list[Tensor], Tensor]]:
        """Part by part, in order: loss fp64 [n] (nats) of each supervised token after each loop of the phase (once,
        without loops), and its position [n] in the row. The phase says whether documents see each other.
        """

    def logits(self, rows: Sequence[Sample], places: Sequence[range], phase: Phase) -> Tensor:
        """Logits [n, V] at these positions of each row, one row's behind another's; for Ouro those of the last loop.

        Each row is one document; its labels are not read.
        """

    def turned_by(self, rope: Rope) -> AbstractContextManager[None]:
        """Within the block the language model has these rotary positions; afterwards its own."""

    def evaluating(self) -> AbstractContextManager[None]:
        """Within the block the modules are in evaluation mode; afterwards as they were."""


@contextmanager
def evaluation_mode(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Evaluation mode (a router counts nothing), undone module by module."""
    before = {inner: inner.training for module in modules for inner in module.modules()}
    for inner in before:
        inner.training = False
    try:
        yield
    finally:
        for inner, training in before.items():
            inner.training = training


def row(tokens: NDArray[np.int64], images: Sequence[Image] = ()) -> Sample:
    """One document, of which logits are asked: nothing is predicted for a loss."""
    length = len(tokens)
    return Sample(
        tokens=tokens,
        labels=np.full(length, UNSUPERVISED, dtype=np.int64),
        segments=np.zeros(length, dtype=np.int32),
        positions=np.arange(length, dtype=np.int64),
        images=tuple(images),
        spans=(),
    )
