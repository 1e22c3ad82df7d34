"""Gradients are summed along a tree that the number of micro-batches alone decides."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from stages.train.reduce import Gradients, TreeSum, block, combine


def leaves(count: int, seed: int) -> list[Gradients]:
    generator = torch.Generator().manual_seed(seed)
    return [[torch.randn(7, generator=generator) * 10.0 ** (i % 5), None] for i in range(count)]


def total(parts: list[Gradients]) -> Gradients | None:
    tree = TreeSum()
    for part in parts:
        tree.add([None if tensor is None else tensor.clone() for tensor in part])
    return tree.result()


@given(count=st.integers(1, 40), ranks=st.sampled_from([1, 2, 4, 8]), seed=st.integers(0, 2**31))
def test_any_power_of_two_of_blocks_gives_the_same_bits(count: int, ranks: int, seed: int) -> None:
    parts = leaves(count, seed)
    alone = total(parts)
    blocks = [total([parts[i] for i in block(count, rank, ranks)]) for rank in range(ranks)]
    together = combine(blocks)
    assert alone is not None
    assert together is not None
    assert torch.equal(alone[0], together[0])


@given(count=st.integers(0, 70), ranks=st.sampled_from([1, 2, 4, 8]))
def test_blocks_are_a_partition_in_order(count: int, ranks: int) -> None:
    assert [i for rank in range(ranks) for i in block(count, rank, ranks)] == list(range(count))


@pytest.mark.parametrize(
    ("count", "ranks", "sizes"),
    [(8, 2, [4, 4]), (8, 8, [1] * 8), (5, 2, [4, 1]), (4, 4, [1] * 4), (2, 4, [1, 1, 0, 0])],
)
def test_a_block_is_no_larger_than_the_tree_needs_so_that_ranks_share_the_work(
    count: int, ranks: int, sizes: list[int]
) -> None:
    assert [len(block(count, rank, ranks)) for rank in range(ranks)] == sizes


def test_the_tree_is_the_one_written_in_the_docs() -> None:
    values = [1.0, 2.0**-24, 2.0**-24, 3.0, 5.0, 2.0**-25, 7.0]
    a, b, c, d, e, f, g = (torch.tensor([value]) for value in values)
    root = total([[torch.tensor([value])] for value in values])
    assert root is not None
    assert root[0] is not None
    assert torch.equal(root[0], ((a + b) + (c + d)) + ((e + f) + g))


def test_an_untouched_parameter_stays_none_and_a_touched_one_is_kept() -> None:
    one = torch.ones(1)
    assert total([[None, None], [one, None], [None, None]]) == [one, None]
    assert total([]) is None


@pytest.mark.parametrize("ranks", [0, 3, 6])
def test_ranks_that_do_not_cut_the_tree_are_refused(ranks: int) -> None:
    with pytest.raises(ValueError, match=f"^{ranks} ranks: the tree is cut into a power of two of blocks$"):
        block(8, 0, ranks)


@given(cuts=st.lists(st.integers(1, 5), min_size=1, max_size=6), seed=st.integers(0, 2**31))
def test_micro_batches_with_ragged_masks_add_up_to_one_batch(cuts: list[int], seed: int) -> None:
    """Loss sums over global counts: a micro-batch with few supervised tokens weighs what its tokens weigh."""
    generator = torch.Generator().manual_seed(seed)
    rows = sum(cuts)
    inputs = torch.randn(rows, 6, 4, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 5, (rows, 6), generator=generator)
    labels[torch.rand(rows, 6, generator=generator) < 0.6] = -100
    labels[0, 0] = 1
    weight = torch.randn(5, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    supervised = int((labels >= 0).sum())

    def gradient(first: int, last: int) -> torch.Tensor:
        logits = F.linear(inputs[first:last], weight).flatten(0, 1)
        loss = F.cross_entropy(logits, labels[first:last].flatten(), ignore_index=-100, reduction="sum") / supervised
        return torch.autograd.grad(loss, weight)[0]

    borders = [sum(cuts[:i]) for i in range(len(cuts) + 1)]
    pieces = total([[gradient(a, b)] for a, b in pairwise(borders)])
    assert pieces is not None
    torch.testing.assert_close(pieces[0], gradient(0, rows), rtol=1e-12, atol=1e-14)
