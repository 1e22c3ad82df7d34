"""Whole-document packing: nothing cut, nothing twice, nothing overfull, no avoidable break."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stages.contract import order
from stages.data.loading import packing

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=80)


@given(LENGTHS, st.integers(1, 50), st.integers(0, 1000), st.integers(0, 2**32))
def test_next_fit(lengths: list[int], context: int, first: int, seed: int) -> None:
    sizes = np.array(lengths)
    plan = packing.plan(sizes, first, context, order.key(seed, "test"))
    assert sorted(plan.documents.tolist()) == [first + i for i, length in enumerate(lengths) if length <= context]
    assert plan.left_out == sum(length > context for length in lengths)
    fitted = sizes[plan.documents - first]
    windows = [fitted[a:b] for a, b in zip(plan.starts[:-1], plan.starts[1:], strict=True)]
    assert len(windows) == plan.windows
    assert sum(len(window) for window in windows) == len(lengths) - plan.left_out
    assert all(0 < window.sum() <= context for window in windows)
    for window, following in pairwise(windows):
        assert window.sum() + following[0] > context  # a new window is opened only when it must be


@given(st.integers(0, 10_000), st.integers(1, 300))
def test_every_window_has_a_target_for_its_last_position(tokens: int, context: int) -> None:
    windows = packing.concatenated_windows(tokens, context)
    assert windows * context + 1 <= tokens or windows == 0
    assert (windows + 1) * context + 1 > tokens
