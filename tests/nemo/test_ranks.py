from __future__ import annotations

import os
import time

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from tests.nemo import ranks
from tests.nemo.ranks import RankError


def _add(value: float) -> tuple[int, int, float]:
    total = torch.tensor(value * (dist.get_rank() + 1))
    dist.all_reduce(total)
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), total.item()


def _tensor() -> Tensor:
    return torch.arange(3) + dist.get_rank()


def _raise(rank: int) -> None:
    if dist.get_rank() == rank:
        raise ValueError(f"no {rank}")
    dist.barrier()


def _leave(rank: int) -> None:
    if dist.get_rank() == rank:
        os._exit(7)
    dist.barrier()


def _hang() -> None:
    time.sleep(60 if dist.get_rank() else 0)


def _pid() -> int:
    return os.getpid()


@pytest.mark.parametrize("size", [1, 2, 4])
def test_each_rank_returns_its_own_result_in_the_order_of_the_ranks(size: int) -> None:
    expected = sum(2.0 * (rank + 1) for rank in range(size))
    assert ranks.run(size, _add, 2.0) == [(rank, size, expected) for rank in range(size)]


def test_tensors_come_back_with_their_bits() -> None:
    first, second = ranks.run(2, _tensor)
    assert first.tolist() == [0, 1, 2]
    assert second.tolist() == [1, 2, 3]


def test_groups_follow_each_other() -> None:
    assert [ranks.run(2, _add, 1.0)[0][2] for _ in range(3)] == [3.0, 3.0, 3.0]


@pytest.mark.parametrize("rank", [0, 1])
def test_what_a_rank_raises_is_shown_with_its_traceback(rank: int) -> None:
    with pytest.raises(RankError, match=rf"(?s)rank {rank}: Traceback.*in _raise.*ValueError: no {rank}"):
        ranks.run(2, _raise, rank)


def test_a_rank_that_ends_early_is_named() -> None:
    with pytest.raises(RankError, match="rank 1: ended without a word"):
        ranks.run(2, _leave, 1)


def test_a_rank_that_hangs_is_named_and_killed() -> None:
    began = time.monotonic()
    with pytest.raises(RankError, match="no answer within 1 s from rank 1"):
        ranks.run(2, _hang, seconds=1)
    assert time.monotonic() - began < 10


def test_no_process_is_left_behind() -> None:
    for pid in ranks.run(2, _pid):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_process_that_is_in_a_group_cannot_fork_ranks() -> None:
    (said,) = ranks.run(1, _nested)
    assert said == "this process is in a process group itself: its connections would be shared by a fork"


def _nested() -> str:
    with pytest.raises(ValueError) as raised:
        ranks.run(1, _pid)
    return str(raised.value)
