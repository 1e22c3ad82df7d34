import numpy as np
import pytest

from stages.contract import order


def test_a_fixed_example():
    # Written down so that a change of the order, which would change every run, cannot pass unnoticed.
    permutation = order.Permutation(10, order.key(0, "kimi_vl", "prose"))
    assert [permutation(i) for i in range(10)] == [2, 8, 0, 6, 4, 7, 3, 1, 9, 5]


def test_words_and_their_borders_matter():
    keys = {order.key(1, "a", "bc"), order.key(1, "ab", "c"), order.key(1, "abc"), order.key(2, "a", "bc")}
    assert len(keys) == 4
    assert order.key(1, "1") != order.key(1, 1)
    assert order.key(1, "a", 2) == order.key(1, "a", 2)
    assert len(order.key(0)) == 32


def test_one_element():
    assert order.Permutation(1, order.key(0))(0) == 0


@pytest.mark.parametrize("n", [0, -1, 2**62 + 1])
def test_sizes_without_a_permutation(n):
    with pytest.raises(ValueError, match="between 1 and"):
        order.Permutation(n, order.key(0))


@pytest.mark.parametrize("i", [-1, 10])
def test_outside_is_an_error(i):
    permutation = order.Permutation(10, order.key(0))
    with pytest.raises(IndexError):
        permutation(i)
    with pytest.raises(IndexError):
        permutation.batch(np.array([0, i]))


def test_paper_scale_needs_no_table():
    n = 634_765_625  # 5.2T tokens in windows of 8,192
    permutation = order.Permutation(n, order.key(0, "text"))
    assert all(0 <= permutation(i) < n for i in (0, 1, n // 2, n - 1))


def test_looks_shuffled():
    """Neighbours part, halves mix: what a shuffle is for."""
    n = 10_000
    placed = order.Permutation(n, order.key(3)).batch(np.arange(n))
    assert abs(np.corrcoef(np.arange(n), placed)[0, 1]) < 0.05
    assert abs((placed[: n // 2] < n // 2).mean() - 0.5) < 0.03
    assert (np.abs(np.diff(placed)) == 1).mean() < 0.002
