"""How samples become a micro-batch: padding, documents, and which positions are targets."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from stages.data.loading.sample import Image, Sample
from stages.train.objectives.base import collate, cut
from tests.unit.train import tiny

CPU = torch.device("cpu")
MASKED = tiny.phase("next_token")
UNMASKED = tiny.phase("next_token", document_mask=False)


def sample(tokens: list[int], segments: list[int], **more: Any) -> Sample:
    """A row in which the token after each is its target, but for the last of a document."""
    numbers = np.array(segments, dtype=np.int32)
    labels = np.array([*tokens[1:], -100], dtype=np.int64)
    labels[np.flatnonzero(np.diff(numbers))] = -100
    places = np.arange(len(tokens), dtype=np.int64)
    return Sample(np.array(tokens, dtype=np.int64), labels, numbers, places, more.pop("images", ()), (), **more)


TWO = sample([11, 12, 13, 14], [0, 0, 1, 1])
SHORT = sample([21, 22], [0, 0])


def test_shorter_rows_are_filled_up_behind_with_what_the_tokenizer_fills_with() -> None:
    rows = collate(
        [sample([11, 12, 13, 14], [0, 0, 1, 1], fill=9), sample([21, 22], [0, 0], fill=9)], MASKED, None, CPU
    )
    assert rows.batch.tokens.tolist() == [[11, 12, 13, 14], [21, 22, 9, 9]]
    assert rows.labels.tolist() == [[12, -100, 14, -100], [22, -100, -100, -100]]
    assert rows.batch.positions.tolist() == [[0, 1, 2, 3], [0, 1, 0, 0]]
    assert rows.supervised is not None
    assert rows.supervised.tolist() == [0, 2, 4]


def test_documents_are_kept_apart_only_where_the_phase_masks_them_and_padding_always() -> None:
    def lengths(phase: Any, *samples: Sample) -> tuple[int, ...] | None:
        documents = collate(samples, phase, None, CPU).batch.documents
        return None if documents is None else documents.lengths

    assert lengths(MASKED, TWO) == (2, 2)
    assert lengths(UNMASKED, TWO) is None, "a row is one document, as attention takes it by itself"
    assert lengths(MASKED, TWO, SHORT) == (2, 2, 2, 2)
    assert lengths(UNMASKED, TWO, SHORT) == (4, 2, 2)


def test_a_router_counts_what_is_no_padding() -> None:
    documents = collate([TWO, SHORT], UNMASKED, None, CPU).batch.documents
    assert documents is not None
    assert documents.tokens is not None
    assert documents.tokens.tolist() == [0, 1, 2, 3, 4, 5]


def test_pictures_are_packed_where_there_is_a_tower() -> None:
    image = Image(np.zeros((8, 8, 1), dtype=np.float32))
    seen = sample([11, 12, 13, 14], [0, 0, 0, 0], images=(image, image))
    rows = collate([seen, SHORT, SHORT], MASKED, 4, CPU)
    assert rows.batch.grids == [(2, 2), (2, 2)]
    assert collate([seen, SHORT], MASKED, None, CPU).batch.pixels is None


def test_micro_batches_are_in_order_and_the_last_one_takes_what_is_left() -> None:
    assert cut(5, 2) == [range(2), range(2, 4), range(4, 5)]
    assert cut(4, 4) == [range(4)]
    assert cut(0, 2) == []
