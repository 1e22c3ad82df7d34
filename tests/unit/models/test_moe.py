"""Routers by hand: which experts a token takes, what they weigh, and what is counted."""

from __future__ import annotations

import pytest
import torch

from stages.models import moe
from stages.models.build import make
from stages.models.moe import Router, SoftmaxRouter, balanced, imbalance, route
from stages.spec.decoder import Mixture
from tests.unit.train import tiny

CFG = Mixture(experts=4, active=2, ffn=8, shared=0, scoring="sigmoid", normalised=True, scale=2.5)
# One number a token: the scores of its four experts are the sigmoids of it times these.
WEIGHT = torch.tensor([[2.0], [1.0], [0.0], [-1.0]])
ONE = torch.ones(1, 1)


def test_a_bias_says_which_experts_a_token_takes_and_not_what_they_weigh() -> None:
    scores = WEIGHT.flatten().sigmoid()
    for bias, wanted in ((torch.zeros(4), [0, 1]), (torch.tensor([0.0, 0.0, 0.0, 9.0]), [3, 0])):
        found, chosen, weights = route(ONE, WEIGHT, bias, active=2, scale=2.5)
        assert torch.equal(found[0], scores)
        assert chosen[0].tolist() == wanted
        torch.testing.assert_close(weights[0], 2.5 * scores[wanted] / scores[wanted].sum())


@pytest.mark.parametrize("normalised", [True, False])
def test_probabilities_weigh_experts_divided_by_their_sum_where_the_model_says_so(normalised: bool) -> None:
    router = SoftmaxRouter(1, Mixture(4, 2, 8, 0, "softmax", normalised, 1.0))
    with torch.no_grad():
        router.weight.copy_(WEIGHT)
    chosen, weights = router(ONE, None)
    chances = WEIGHT.flatten().softmax(0)[:2]
    assert chosen[0].tolist() == [0, 1]
    torch.testing.assert_close(weights[0], chances / chances.sum() if normalised else chances)


@pytest.mark.parametrize("kind", [Router, SoftmaxRouter])
def test_padding_is_neither_counted_nor_balanced(kind: type[Router | SoftmaxRouter]) -> None:
    router = kind(1, CFG)
    with torch.no_grad():
        router.weight.copy_(WEIGHT)
    router(torch.tensor([[1.0], [1.0], [-1.0]]), torch.tensor([0, 1]))
    assert router.counts.tolist() == [2, 2, 0, 0]
    assert router.aux_loss is not None
    aux_loss = router.aux_loss.item()
    router(torch.tensor([[1.0], [1.0]]), None)
    assert router.counts.tolist() == [4, 4, 0, 0]
    assert router.aux_loss.item() == pytest.approx(aux_loss)
    router.eval()(torch.tensor([[1.0]]), None)
    assert router.counts.tolist() == [4, 4, 0, 0], "only training counts"


@pytest.mark.parametrize("kind", [Router, SoftmaxRouter])
def test_a_layer_that_is_computed_again_counts_nothing_twice(
    kind: type[Router | SoftmaxRouter], monkeypatch: pytest.MonkeyPatch
) -> None:
    router = kind(1, CFG)
    with torch.no_grad():
        router.weight.copy_(WEIGHT)
    router(ONE, None)
    first = router.aux_loss
    monkeypatch.setattr(moe, "computing_again", lambda: True)
    router(ONE, None)
    assert router.counts.tolist() == [1, 1, 0, 0]
    assert router.aux_loss is first


def test_a_bias_moves_up_where_the_load_is_below_a_mean_that_is_no_whole_number() -> None:
    counts = torch.tensor([[2, 3, 3, 2]])  # mean 2.5
    assert balanced(torch.zeros(1, 4), counts, 0.001)[0].tolist() == pytest.approx([0.001, -0.001, -0.001, 0.001])


def test_an_uneven_load_of_uneven_scores_costs_more_than_an_even_one() -> None:
    """Two tokens that take two of four experts each: f = load * 4 / (2 * 2), P = share / 2."""
    even = imbalance(torch.tensor([1, 1, 1, 1]), torch.full((4,), 0.5), tokens=2, active=2)
    uneven = imbalance(torch.tensor([2, 2, 0, 0]), torch.tensor([0.8, 0.8, 0.2, 0.2]), tokens=2, active=2)
    assert (even.item(), uneven.item()) == (1.0, pytest.approx(1.6))


def test_a_layer_with_sigmoid_scores_has_shared_experts_be_they_of_no_width() -> None:
    """DeepSeek-V3's code has them, so their names are in its files."""
    made = make(tiny.MOONLIGHT.model_copy(update={"shared_experts": 0}), tiny.ROPE, "cpu").state_dict()
    assert made["model.layers.1.mlp.shared_experts.gate_proj.weight"].shape == (0, 16)
