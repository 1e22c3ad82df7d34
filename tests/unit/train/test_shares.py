"""Which part of a step's work each rank has."""

from __future__ import annotations

import pytest
import torch

from stages.train.ranks import ALONE, Ranks
from stages.train.shards import owners


@pytest.mark.parametrize("size", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("leaves", [0, 1, 2, 5, 8, 9])
def test_shares_are_all_leaves_in_order(size: int, leaves: int) -> None:
    shares = [Ranks(rank, size).share(leaves) for rank in range(size)]
    assert [leaf for share in shares for leaf in share] == list(range(leaves))
    assert Ranks(0, size).exact == (size != 3)


def test_work_is_divided_by_its_price() -> None:
    assert owners([1, 5, 4, 1, 1], 2) == [1, 0, 1, 0, 1]
    assert owners([1.0, 2.0], 1) == [0, 0]


def test_alone_everything_stays_as_it_is() -> None:
    part = [torch.tensor([-0.0]), None]
    assert ALONE.all_reduce(part, [torch.zeros(1), torch.zeros(2)]) is part
    assert ALONE.all_reduce(None, [torch.zeros(1)]) is None
    assert ALONE.broadcast("here") == "here"
    assert ALONE.any(True)
    assert not ALONE.any(False)
