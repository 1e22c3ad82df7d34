"""A permutation is a bijection, in bulk and one by one, for every size and key."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stages.contract import order

seeds = st.integers(0, 2**64 - 1)


@given(st.integers(1, 600), seeds)
def test_every_index_once(n: int, seed: int) -> None:
    permutation = order.Permutation(n, order.key(seed))
    assert sorted(permutation(i) for i in range(n)) == list(range(n))


@given(st.integers(1, 2**62), seeds, st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=16))
def test_in_bulk_equals_one_by_one(n: int, seed: int, places: list[float]) -> None:
    permutation = order.Permutation(n, order.key(seed, "bulk"))
    indices = [min(n - 1, int(place * n)) for place in places]
    assert permutation.batch(np.array(indices)).tolist() == [permutation(i) for i in indices]


@given(st.integers(1, 2**62), seeds, st.floats(0, 1, exclude_max=True))
def test_the_inverse_leads_back(n: int, seed: int, place: float) -> None:
    """`stages where` finds by it the step that read a document."""
    permutation, index = order.Permutation(n, order.key(seed)), min(n - 1, int(place * n))
    assert permutation.inverse(permutation(index)) == index


@given(st.integers(2**20, 2**40), seeds, st.integers(0, 2**20 - 1), st.integers(0, 2**20 - 1))
def test_different_indices_land_apart_in_large_domains(n: int, seed: int, a: int, b: int) -> None:
    permutation = order.Permutation(n, order.key(seed))
    assert (permutation(a) == permutation(b)) == (a == b)


@given(st.integers(64, 600), seeds)
def test_the_key_matters(n: int, seed: int) -> None:
    one, other = order.Permutation(n, order.key(seed, "a")), order.Permutation(n, order.key(seed, "b"))
    assert [one(i) for i in range(n)] != [other(i) for i in range(n)]
