"""What was read, as intervals: counted, joined and compared as sets of tokens are."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stages.guards.end import overlap, union
from stages.guards.phase_log import counted

Interval = tuple[int, int]
INTERVALS = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 9)).map(lambda one: (one[0], sum(one))), max_size=8)


def tokens(intervals: list[Interval]) -> list[int]:
    return [token for start, end in intervals for token in range(start, end)]


@given(INTERVALS)
def test_a_union_has_every_token_once_in_as_few_intervals_as_there_can_be(intervals: list[Interval]) -> None:
    found = union({"text": intervals})["text"]
    assert tokens(found) == sorted(set(tokens(intervals)))
    assert all(before[1] < after[0] for before, after in pairwise(found))


@given(INTERVALS, INTERVALS)
def test_an_overlap_is_the_number_of_tokens_that_both_have(left: list[Interval], right: list[Interval]) -> None:
    first, second = (union({"text": one})["text"] for one in (left, right))
    assert overlap(first, second) == len(set(tokens(left)) & set(tokens(right)))


@given(INTERVALS.filter(bool))
def test_tokens_are_counted_as_often_as_they_were_read(intervals: list[Interval]) -> None:
    found = counted([np.array([one], dtype=np.int64) for one in intervals])
    often = Counter(tokens(intervals))
    assert {token: times for start, end, times in found for token in range(start, end)} == often
    assert all(before[1] < after[0] or before[2] != after[2] for before, after in pairwise(found))
