"""What a pair costs under CoCa, product by product: (rows, inner, outer) of each matrix product of a forward pass."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from stages.contract import cost, cost_coca
from stages.spec.families import FAMILIES
from stages.spec.resolved_models import (
    CaptionDecoderModel,
    ContrastiveModel,
    MoonViTModel,
    ProjectorModel,
    TextTowerModel,
)

SCALE: dict[str, Any] = {"norm_eps": 1e-5, "init_std": 0.02, "heads": 2}
HIDDEN, FFN, LENGTH, VOCAB, PATCHES, PAIRS = 6, 10, 5, 50, 9, 4
VIT = MoonViTModel(family="moonvit", layers=2, hidden=8, ffn=12, patch=4, channels=3, table=3, rope_base=1e4, **SCALE)
TEXT = TextTowerModel(family="text_tower", layers=3, hidden=HIDDEN, ffn=FFN, vocab=VOCAB, length=LENGTH, **SCALE)
POOLING = ContrastiveModel(
    family="contrastive", hidden=HIDDEN, ffn=FFN, init_log_temperature=2.3, init_bias=-10.0, **SCALE
)
DECODER = CaptionDecoderModel(
    family="caption_decoder", layers=2, hidden=HIDDEN, ffn=FFN, vocab=VOCAB, length=LENGTH, vision_hidden=8, **SCALE
)
MODULES = {"text": TEXT, "vit": VIT, "head": POOLING, "decoder": DECODER}


def macs(*products: tuple[float, float, float]) -> float:
    return sum(rows * inner * outer for rows, inner, outer in products)


def encoder(rows: int, hidden: int, ffn: int) -> float:
    """Query, key, value, output; up and down."""
    return macs(*[(rows, hidden, hidden)] * 4, (rows, hidden, ffn), (rows, ffn, hidden))


VIT_WEIGHTS = 2 * encoder(PATCHES, 8, 12) + macs((PATCHES, 3 * 4 * 4, 8))
VIT_ATTENTION = 2 * macs(*[(PATCHES, 8, PATCHES)] * 2)  # all patches see each other: scores, and values
TEXT_WEIGHTS = 3 * encoder(LENGTH, HIDDEN, FFN) + macs((1, HIDDEN, HIDDEN))  # the last position's projection
TEXT_ATTENTION = 3 * macs(*[(LENGTH, HIDDEN, LENGTH)] * 2)
# One query: it and the output once, key and value of every patch, and a feed-forward part.
POOLING_WEIGHTS = macs(*[(1, HIDDEN, HIDDEN)] * 2, *[(PATCHES, HIDDEN, HIDDEN)] * 2, (1, HIDDEN, FFN), (1, FFN, HIDDEN))
POOLING_ATTENTION = macs(*[(1, HIDDEN, PATCHES)] * 2)
LOGITS = macs((1, HIDDEN, PAIRS))  # an image's embedding against those of all texts
READ = LENGTH - 1  # the last token is only predicted
DECODER_WEIGHTS = macs((READ, HIDDEN, VOCAB)) + 2 * (
    encoder(READ, HIDDEN, FFN) + macs(*[(READ, HIDDEN, HIDDEN)] * 2, *[(PATCHES, 8, HIDDEN)] * 2)
)
DECODER_ATTENTION = 2 * macs(*[(READ, HIDDEN, READ / 2)] * 2, *[(READ, HIDDEN, PATCHES)] * 2)


def pair(trained: tuple[str, ...], modules: Mapping[str, Any] = MODULES) -> float:
    stage: Any = SimpleNamespace(modules=modules, trained=trained)
    return cost_coca.pair(stage, PATCHES, PAIRS)


def test_trained_throughout_is_a_forward_a_backward_of_two_and_another_forward_of_the_towers() -> None:
    towers = VIT_WEIGHTS + VIT_ATTENTION + TEXT_WEIGHTS + TEXT_ATTENTION + POOLING_WEIGHTS + POOLING_ATTENTION
    rest = LOGITS + DECODER_WEIGHTS + DECODER_ATTENTION
    assert pair(tuple(MODULES)) == 2 * ((3 + 1) * towers + 3 * rest)


@pytest.mark.parametrize(
    ("frozen", "weights"),
    [("vit", VIT_WEIGHTS), ("text", TEXT_WEIGHTS), ("head", POOLING_WEIGHTS), ("decoder", DECODER_WEIGHTS)],
)
def test_a_frozen_module_saves_the_gradient_of_its_weights_and_nothing_else(frozen: str, weights: float) -> None:
    moving = tuple(name for name in MODULES if name != frozen)
    assert pair(tuple(MODULES)) - pair(moving) == 2 * weights


def empty(family: Any) -> Any:
    """A model of which nothing may be read."""
    return family.model_construct()


@pytest.mark.parametrize("idle", [*(empty(one) for one in FAMILIES.values()), SimpleNamespace(family="projector")])
def test_a_module_that_the_objective_does_not_run_costs_nothing(idle: Any) -> None:
    assert pair((*MODULES, "idle"), {"idle": idle, **MODULES}) == pair(tuple(MODULES))


def test_an_image_token_costs_the_projector_two_layers_on_merged_patches() -> None:
    projector = ProjectorModel(family="projector", vision_hidden=8, merge=3, llm_hidden=6, norm_eps=1e-5, init_std=0.02)
    assert cost.projector(projector) == cost.Work(macs((1, 9 * 8, 9 * 8), (1, 9 * 8, 6)))


@pytest.mark.parametrize(("side", "patches"), [(3, 1), (4, 1), (7, 1), (8, 4), (11, 4), (12, 9)])
def test_a_cap_lets_through_whole_patches_and_at_least_one(side: int, patches: int) -> None:
    assert cost_coca.patches_of(VIT, side) == patches
