"""An optimizer whose state is divided over ranks: each rank updates its own part, and the parts are what one rank has.

In one process: nothing is exchanged, and every rank keeps what it owns.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from stages.spec.resolved_training import AdamW, Muon
from stages.train.optimizer import Optimizer
from stages.train.param_groups import Slot
from stages.train.ranks import Ranks
from stages.train.shards import Borders
from tests.unit.train.tiny import ADAMW, MUON

SHAPES = st.lists(
    st.sampled_from([(), (1,), (3,), (64,), (200,), (0, 4), (1, 1), (2, 3), (9, 30), (65, 2)]), min_size=1, max_size=6
)


class Apart(Ranks):
    """A rank that gives the others nothing."""

    def all_gather_parts(self, tensors: Sequence[Tensor], borders: Sequence[Borders]) -> None:
        """Parameters of other ranks stay as they were."""


def made(cfg: AdamW | Muon, shapes: list[tuple[int, ...]], ranks: Ranks) -> Optimizer:
    generator = torch.Generator().manual_seed(0)
    weights = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    muon = cfg.kind == "muon"
    slots = [Slot("llm", f"llm.w{i}", weight, muon and weight.ndim == 2) for i, weight in enumerate(weights)]
    return Optimizer(cfg, slots, ranks)


def two_steps(optimizer: Optimizer) -> list[float]:
    """The norms of two steps."""
    norms = []
    for seed in (1, 2):
        generator = torch.Generator().manual_seed(seed)
        clipped = optimizer.clip([torch.randn(one.shape, generator=generator) for one in optimizer.parameters])
        optimizer.step(clipped, 0.01 * seed)
        norms.append(float(clipped.norm))
    return norms


@given(shapes=SHAPES, size=st.sampled_from([2, 3, 4, 8]), ema=st.sampled_from([None, 0.5]), muon=st.booleans())
@settings(max_examples=40, deadline=None)
def test_the_parts_of_all_ranks_are_the_whole_that_one_rank_computes(
    shapes: list[tuple[int, ...]], size: int, ema: float | None, muon: bool
) -> None:
    """Also where a rank owns nothing, or nothing of a tensor, and where a tensor has one element or none."""
    cfg = (MUON if muon else ADAMW).model_copy(update={"ema": ema})
    alone = made(cfg, shapes, Apart(0, 1))
    norms = two_steps(alone)
    whole = {name: tensor for name, tensor, _ in alone.owned()}
    found: dict[str, list[Tensor]] = {name: [] for name in whole}
    for rank in range(size):
        optimizer = made(cfg, shapes, Apart(rank, size))
        assert two_steps(optimizer) == norms
        for name, part, start in optimizer.owned():
            assert start == sum(map(len, found[name]))
            found[name].append(part.detach().reshape(-1))
    for name, parts in found.items():
        assert torch.equal(torch.cat(parts), whole[name].detach().reshape(-1)), name


def test_the_average_is_kept_of_matrices_that_muon_moves_too() -> None:
    optimizer = made(MUON.model_copy(update={"ema": 0.25}), [(3, 2), (5,)], Ranks(0, 1))
    before = [weight.detach().clone() for weight in optimizer.parameters]
    optimizer.step(optimizer.clip([torch.ones_like(weight) for weight in before]), 0.1)
    for slot, old in zip(optimizer.slots, before, strict=True):
        average = optimizer.state()[f"{slot.name}.ema"]
        assert torch.allclose(average, old + 0.75 * (slot.parameter.detach() - old))
        assert not torch.equal(average, old)


@pytest.mark.parametrize("size", [1, 2])
def test_where_muon_moves_everything_nothing_is_clipped_and_the_norm_is_known(size: int) -> None:
    optimizer = made(MUON, [(3, 2)], Apart(0, size))
    gradients = [torch.full((3, 2), 5.0)]
    clipped = optimizer.clip(gradients)
    assert clipped.factor is None
    assert float(clipped.norm) == pytest.approx(150**0.5)
    optimizer.step(clipped, 0.1)
    assert torch.equal(gradients[0], torch.full((3, 2), 5.0))
