"""What is read is a function of the sample's number alone: not of who reads it, from where on, or in what order."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.data.loading.loader import PhaseData
from stages.data.loading.sample import Sample
from stages.train.reduce import block
from tests.unit.data.small import Small, build, half, phase

SAMPLES = 24


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return build(tmp_path_factory.mktemp("order"))


def open_mixed(small: Small) -> PhaseData:
    made = phase(small.source("math"), small.source("captions"), context=48, share=half())
    return PhaseData(made, 3, "p/s/main", small.data)


def same(ours: list[Sample], theirs: list[Sample]) -> bool:
    arrays = ("tokens", "labels", "segments", "positions")
    return len(ours) == len(theirs) and all(
        one.spans == other.spans and all(np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays)
        for one, other in zip(ours, theirs, strict=True)
    )


@given(cuts=st.lists(st.integers(0, SAMPLES), max_size=5))
def test_any_cut_points_give_the_same_samples(small: Small, cuts: list[int]) -> None:
    whole = open_mixed(small).samples(0, SAMPLES, 0)
    again = open_mixed(small)
    borders = [0, *sorted(cuts), SAMPLES]
    assert same([one for a, b in pairwise(borders) for one in again.samples(a, b - a, 0)], whole)


@given(ranks=st.sampled_from([1, 2, 4, 8]), micro_batches=st.integers(1, SAMPLES))
def test_any_number_of_ranks_reads_the_same_samples(small: Small, ranks: int, micro_batches: int) -> None:
    """Each rank opens the data itself and reads its block; put together in rank order it is the step."""
    alone = open_mixed(small).samples(0, micro_batches, 0)
    together = [
        one
        for rank in range(ranks)
        for index in block(micro_batches, rank, ranks)
        for one in open_mixed(small).samples(index, 1, 0)
    ]
    assert same(together, alone)


@given(order=st.permutations(range(SAMPLES)))
def test_reading_in_another_order_changes_nothing(small: Small, order: list[int]) -> None:
    data = open_mixed(small)
    found = {i: data.samples(i, 1, 0)[0] for i in order}
    assert same([found[i] for i in range(SAMPLES)], open_mixed(small).samples(0, SAMPLES, 0))


@given(cut=st.integers(2_000, 17_000), seed=st.integers(0, 2**32))
def test_two_stages_along_a_lineage_share_no_document(small: Small, cut: int, seed: int) -> None:
    """Stretches [0, cut) and [cut, end): a document belongs to the one in which it begins."""
    end = small.corpus("math").manifest.size
    read: list[set[int]] = []
    for start, stop in ((0, cut), (cut, end)):
        made = phase(small.source("math", start, stop), context=32)
        data = PhaseData(made, seed, f"p/{start}", small.data)
        windows = data._readers[0].windows.count
        read.append({document for one in data.samples(0, windows, 0) for _, document, _, _ in one.spans})
    assert read[0]
    assert read[1]
    assert not read[0] & read[1]
