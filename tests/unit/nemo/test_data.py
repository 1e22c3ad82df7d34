"""A step's rows over the ranks: each once, as many micro-batches on every rank, blank ones behind."""

from collections import Counter

import numpy as np
import pytest
import torch

from stages.data.loading.sample import Sample
from stages.engines.nemo.context import whole
from stages.engines.nemo.data import Micro, Share, micro_batches
from stages.train.ranks import Ranks
from tests.unit.train import tiny

CPU = torch.device("cpu")
LENGTH = 32


def row(number: int, length: int = LENGTH) -> Sample:
    tokens = np.arange(length, dtype=np.int64) + 100 * (number + 1)
    segments = (np.arange(length) >= length // 3).astype(np.int32)
    labels = np.where(np.arange(length) % 3 == 0, -100, tokens + 1)
    return Sample(tokens, labels, segments, np.arange(length, dtype=np.int64), (), ())


def steps(rows: int, micro_batch: int, replicas: int, contexts: int = 1, group: int = 1) -> list[list[list[Micro]]]:
    """Micro-batches by replica, then by rank of its context."""
    phase = tiny.phase("next_token", micro_batch=micro_batch)
    samples = [row(number, 9 if number == rows - 1 else LENGTH) for number in range(rows)]
    return [
        [micro_batches(samples, phase, Share(replica, replicas, c, contexts, group), CPU) for c in range(contexts)]
        for replica in range(replicas)
    ]


@pytest.mark.parametrize("group", [1, 2, 4])
@pytest.mark.parametrize("replicas", [1, 2, 3, 4])
@pytest.mark.parametrize("rows", [1, 5, 8])
def test_every_row_is_computed_once_and_every_rank_has_as_many_micro_batches(
    rows: int, replicas: int, group: int
) -> None:
    found = [of_rank[0] for of_rank in steps(rows, 2, replicas, group=group)]
    numbers = Counter(int(sample.tokens[0]) // 100 - 1 for rank in found for micro in rank for sample in micro.samples)
    assert numbers == Counter(range(rows))
    (most,) = {len(rank) for rank in found}
    assert most % group == 0
    least = max(len(Ranks(replica, replicas).share(-(-rows // 2))) for replica in range(replicas))
    assert most - least < group
    assert sum(float(micro.weights.sum()) for rank in found for micro in rank) == sum(
        int((row(number, 9 if number == rows - 1 else LENGTH).labels != -100).sum()) for number in range(rows)
    )


def test_blank_rows_teach_nothing_and_are_one_document_of_padding() -> None:
    ((rank,),) = steps(1, 2, 1, group=2)
    blank = rank[1]
    assert blank.samples == ()
    assert not blank.weights.any()
    assert (blank.segments == -1).all()
    assert (blank.labels >= 0).all()
    assert not rank[0].weights[0, 9:].any()


@pytest.mark.parametrize("contexts", [2, 4])
def test_ranks_of_a_context_have_the_rows_between_them_and_all_of_the_documents(contexts: int) -> None:
    (parts,) = steps(4, 2, 1, contexts)
    ((alone,),) = steps(4, 2, 1)
    for number, micro in enumerate(alone):
        for field in ("tokens", "positions", "labels", "weights"):
            together = whole([getattr(rank[number], field).T for rank in parts]).T
            assert torch.equal(together, getattr(micro, field))
        assert all(torch.equal(rank[number].segments, micro.segments) for rank in parts)
