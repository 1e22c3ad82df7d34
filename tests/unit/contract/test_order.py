from typing import Any

import numpy as np
import pytest

from stages.contract import order


def test_a_fixed_example() -> None:
    # Written down so that a change of the order, which would change every run, cannot pass unnoticed.
    permutation = order.Permutation(10, order.key(0, "kimi_vl", "prose"))
    assert [permutation(i) for i in range(10)] == [2, 8, 0, 6, 4, 7, 3, 1, 9, 5]


@pytest.mark.parametrize(
    "placed", [[0], [1, 0], [1, 0, 2], [2, 0, 4, 3, 1], [2, 7, 4, 3, 1, 6, 5, 0], [8, 2, 3, 7, 6, 0, 1, 4, 5]]
)
def test_fixed_examples_at_and_above_powers_of_two(placed: list[int]) -> None:
    """Where the network is as small as it may be: with a bit too few, the last index would keep its place."""
    permutation = order.Permutation(len(placed), order.key(7))
    assert [permutation(i) for i in range(len(placed))] == placed


def test_the_largest_size_there_is() -> None:
    n = 2**62
    assert 0 <= order.Permutation(n, order.key(0))(n - 1) < n


def test_words_and_their_borders_matter() -> None:
    keys = {order.key(1, "a", "bc"), order.key(1, "ab", "c"), order.key(1, "abc"), order.key(2, "a", "bc")}
    assert len(keys) == 4
    assert order.key(1, "1") != order.key(1, 1)
    assert order.key(1, "a", 2) == order.key(1, "a", 2)
    assert len(order.key(0)) == 32


def test_one_element() -> None:
    assert order.Permutation(1, order.key(0))(0) == 0


@pytest.mark.parametrize("n", [0, -1, 2**62 + 1])
def test_sizes_without_a_permutation(n: int) -> None:
    with pytest.raises(ValueError, match="between 1 and"):
        order.Permutation(n, order.key(0))


@pytest.mark.parametrize("i", [-1, 10])
def test_outside_is_an_error(i: int) -> None:
    permutation = order.Permutation(10, order.key(0))
    with pytest.raises(IndexError, match=rf"^index {i} lies outside \[0, 10\)$"):
        permutation(i)
    with pytest.raises(IndexError, match="some index lies outside"):
        permutation.batch(np.array([0, i]))


def test_paper_scale_needs_no_table() -> None:
    n = 634_765_625  # 5.2T tokens in windows of 8,192
    permutation = order.Permutation(n, order.key(0, "text"))
    assert all(0 <= permutation(i) < n for i in (0, 1, n // 2, n - 1))


def test_looks_shuffled() -> None:
    """Neighbours part, halves mix: what a shuffle is for."""
    n = 10_000
    placed = order.Permutation(n, order.key(3)).batch(np.arange(n))
    assert abs(np.corrcoef(np.arange(n), placed)[0, 1]) < 0.05
    assert abs((placed[: n // 2] < n // 2).mean() - 0.5) < 0.03
    assert (np.abs(np.diff(placed)) == 1).mean() < 0.002


def test_many_at_once_are_placed_as_one_by_one_for_every_small_size() -> None:
    """Sizes around powers of two: there a walk back into the range may pass the size itself."""
    for n in range(1, 70):
        permutation = order.Permutation(n, order.key(n))
        assert permutation.batch(np.arange(n)).tolist() == [permutation(i) for i in range(n)], n


def test_a_table_of_indices_keeps_its_shape_and_is_of_signed_integers() -> None:
    """Unsigned ones would turn a difference of two places into a huge number."""
    permutation = order.Permutation(100, order.key(1))
    tables: tuple[Any, ...] = (
        np.arange(6).reshape(2, 3), np.arange(6), np.array(7), np.array([], dtype=np.int64), [[1, 2]],
    )  # fmt: skip
    for indices in tables:
        placed = permutation.batch(indices)
        assert placed.shape == np.shape(indices)
        assert placed.dtype == np.int64


def test_many_indices_of_which_one_lies_outside_are_refused_in_words() -> None:
    with pytest.raises(IndexError, match=r"^some index lies outside \[0, 10\)$"):
        order.Permutation(10, order.key(0)).batch(np.array([3, 10]))
