"""How tensors are divided over ranks, and that moving them over gloo in small buckets gives what one rank has."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from stages.engines.launch import launch
from stages.spec.resolved_training import AdamW, Muon
from stages.train.optimizer import Optimizer
from stages.train.param_groups import trained_slots
from stages.train.ranks import Ranks
from stages.train.shards import ALIGNED, buckets, evenly, owners, whole
from tests.unit.train.tiny import ADAMW, MUON

SIZES = [1, 7, 100_000, 64, 4096, 0, 65, 30_001]


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 8])
def test_an_even_division_leaves_nothing_out_and_no_rank_has_more_than_its_part(ranks: int) -> None:
    borders = evenly(SIZES, ranks)
    for size, cut in zip(SIZES, borders, strict=True):
        assert (cut[0], cut[-1], len(cut)) == (0, size, ranks + 1)
        assert list(cut) == sorted(cut)
        assert all(border % ALIGNED == 0 or border == size for border in cut)
    loads = [sum(cut[rank + 1] - cut[rank] for cut in borders) for rank in range(ranks)]
    assert max(loads) - min(loads) <= 2 * ALIGNED


def test_what_is_smaller_than_a_unit_is_not_cut() -> None:
    assert evenly([10, 10], 2) == [(0, 10, 10), (0, 0, 10)]


def test_matrices_are_whole_at_the_rank_that_has_the_least_to_do() -> None:
    assert owners([1, 5, 4, 1, 1], 2) == [1, 0, 1, 0, 1]
    assert owners([1.0, 2.0], 1) == [0, 0]
    assert whole([6, 4], [1, 0], 2) == [(0, 0, 6), (0, 4, 4)]


def test_buckets_are_full_but_for_the_last_and_cut_what_is_longer() -> None:
    assert list(buckets([3, 0, 7, 2], 4)) == [[(0, 0, 3), (2, 0, 1)], [(2, 1, 5)], [(2, 5, 7), (3, 0, 2)]]
    assert list(buckets([4], 4)) == [[(0, 0, 4)]]
    assert list(buckets([], 4)) == []


@pytest.mark.parametrize("cfg", [ADAMW, MUON], ids=["adamw", "muon"])
@pytest.mark.parametrize("ranks", [2, 4])
def test_the_moments_of_all_ranks_are_those_of_one_and_about_equally_many(cfg: AdamW | Muon, ranks: int) -> None:
    torch.manual_seed(0)
    modules = nn.ModuleDict({"llm": nn.Sequential(*(nn.Linear(96, 96) for _ in range(ranks)), nn.LayerNorm(96))})

    def elements(rank: int, size: int) -> int:
        optimizer = Optimizer(cfg, trained_slots(modules, ("llm",), cfg), Ranks(rank, size))
        return sum(tensor.numel() for name, tensor in optimizer.state().items() if not name.endswith(".step"))

    parts = [elements(rank, ranks) for rank in range(ranks)]
    assert sum(parts) == elements(0, 1)
    assert max(parts) <= 1.1 * min(parts)


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [3, *(pytest.param(one, marks=pytest.mark.nightly) for one in (2, 4))])
def test_sums_parts_and_states_move_in_buckets_of_any_size_and_the_bits_stay(ranks: int) -> None:
    launch([sys.executable, "-m", "tests.unit.train.exchanging"], ranks, "exchanging")
