"""What is trained on: documents, labels, padding, and which rank has which rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.unit.train import tiny


def no_documents(patch: pytest.MonkeyPatch) -> None:
    """The stock causal mask: documents of a row see each other."""
    from stages.engines.nemo import data

    real = data.stacked

    def stacked(*given: Any) -> Any:
        micro = real(*given)
        return replace(micro, segments=micro.segments.clamp(max=0))

    patch.setattr(data, "stacked", stacked)


def shifted(patch: pytest.MonkeyPatch) -> None:
    """Labels are shifted once more."""
    from stages.engines.nemo import data

    real = data.stacked

    def stacked(*given: Any) -> Any:
        micro = real(*given)
        return replace(micro, labels=micro.labels.roll(-1, dims=1))

    patch.setattr(data, "stacked", stacked)


def padding_counts(patch: pytest.MonkeyPatch) -> None:
    """A loss mask of ones: padding and blank rows are learnt from."""
    from stages.engines.nemo import data

    real = data.stacked

    def stacked(*given: Any) -> Any:
        micro = real(*given)
        return replace(micro, weights=torch.ones_like(micro.weights))

    patch.setattr(data, "stacked", stacked)


def samples_off(patch: pytest.MonkeyPatch) -> None:
    """consumed_train_samples is one too high: every step begins one row late."""
    real = tiny.Data.samples
    patch.setattr(tiny.Data, "samples", lambda self, first, count, tail: real(self, first + 1, count, tail))


def first_rows(patch: pytest.MonkeyPatch) -> None:
    """Every rank takes itself for the first replica."""
    from megatron.core import parallel_state

    patch.setattr(parallel_state, "get_data_parallel_rank", lambda *_, **__: 0)


def first_positions(patch: pytest.MonkeyPatch) -> None:
    """Every rank takes the first part of its rows."""
    from megatron.core import parallel_state

    patch.setattr(parallel_state, "get_context_parallel_rank", lambda *_, **__: 0)
