"""A step of Moonlight on Megatron-Core computes the torch engine's loss, gradients and loads, in every layout."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.nemo import moonlight_case as case
from tests.nemo import ranks
from tests.nemo.moonlight_case import Layout
from tests.nemo.step_case import worst

LAYOUTS = [
    Layout(),
    Layout(dp=2),
    Layout(tp=2),
    Layout(pp=2),
    Layout(dp=2, ep=2),
    Layout(tp=2, dp=2, ep=2),
    Layout(pp=2, dp=2, ep=2),
    Layout(tp=2, pp=2),
    Layout(pp=2, recompute="full"),
    Layout(recompute="selective"),
]


@pytest.fixture(scope="module")
def wanted() -> case.Found:
    return case.by_torch(case.model())


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_a_step_computes_what_the_torch_engine_computes(layout: Layout, wanted: case.Found) -> None:
    found, *_ = ranks.run(layout.ranks, case.by_core, layout, case.state_of(case.model()))
    assert found is not None
    assert found.loss == pytest.approx(wanted.loss, rel=1e-6)
    assert found.aux_loss == pytest.approx(wanted.aux_loss, rel=1e-6)
    difference, name = worst(found.gradients, wanted.gradients)
    assert difference < 2e-6, name
    assert found.biases.keys() == wanted.biases.keys()
    assert all(found.biases[name].equal(bias) for name, bias in wanted.biases.items())


def test_latent_attention_turns_by_positions_within_documents() -> None:
    """Up to rounding a row's own positions would do; at the length of a long context its rounding would not."""
    from stages.contract.rope import inv_freq
    from stages.engines.nemo import moonlight

    rope = case.stage().rope
    assert rope is not None
    for sample in case.samples():
        turned = moonlight.SegmentRotary(rope, 8)
        turned.turn(torch.from_numpy(sample.segments[None]), Alone(), torch.device("cpu"))
        angles = torch.from_numpy(sample.positions)[:, None].float() * torch.tensor(inv_freq(rope, 8)).float()
        assert turned(0).equal(torch.cat((angles, angles), -1)[:, None, None])


class Alone:
    """A group of one rank."""

    def rank(self) -> int:
        return 0

    def size(self) -> int:
        return 1


def test_a_model_in_half_precision_has_its_routers_in_single_precision() -> None:
    assert ranks.run(1, case.types_in_bf16) == [{torch.float32}]


def test_evaluation_counts_nothing_and_has_no_balance_loss() -> None:
    assert ranks.run(1, case.evaluated) == [(0, 0.0)]


def test_a_checkpoint_of_two_expert_parallel_ranks_is_read_by_one(tmp_path: Path) -> None:
    state = case.state_of(case.model())
    ranks.run(2, case.saved, Layout(dp=2, ep=2), state, tmp_path)
    (found,) = ranks.run(1, case.loaded, tmp_path)
    assert found.keys() == state.keys()
    assert all(found[name].equal(tensor) for name, tensor in state.items())
