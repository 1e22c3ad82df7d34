"""Floating-point operations of CoCa training, one image-caption pair at a time; conventions as in `cost`.

The contrastive loss is over the whole batch, so both towers run forward once more to embed it (GradCache, arXiv
2101.06983): that pass is part of the objective here, and counted.
"""

from __future__ import annotations

from typing import assert_never

from stages.contract.cost import FLOPS_PER_MAC, Work, encoder_layer, vision_tower
from stages.spec.language_model import LanguageModel
from stages.spec.resolved import Stage
from stages.spec.resolved_models import CaptionDecoderModel, ContrastiveModel, MoonViTModel, TextTowerModel


def pair(stage: Stage, patches: int, pairs: int) -> float:
    """Operations, forward and backward, of one pair: an image of `patches` patches in a batch of `pairs` pairs."""
    total = 0.0
    for name, model in stage.modules.items():
        moves = name in stage.trained
        if isinstance(model, LanguageModel):
            continue  # not run by this objective
        match model.family:
            case "moonvit":
                total += _twice_forward(vision_tower(model, patches) * patches, moves)
            case "text_tower":
                total += _twice_forward(_text_tower(model), moves)
            case "contrastive":
                total += _twice_forward(_pooling(model, patches), moves)
                total += Work(0, model.hidden * pairs).flops(moves, True)
            case "caption_decoder":
                total += _decoder(model, patches).flops(moves, True)
            case "projector":
                pass  # nor is this
            case _:
                assert_never(model)
    return total


def forward(stage: Stage, patches: int, captioned: bool) -> float:
    """Operations of embedding a pair, and of its caption's loss where that is trained."""
    total = Work(0)
    for model in stage.modules.values():
        match model:
            case MoonViTModel():
                total += vision_tower(model, patches) * patches
            case TextTowerModel():
                total += _text_tower(model)
            case ContrastiveModel():
                total += _pooling(model, patches)
            case CaptionDecoderModel() if captioned:
                total += _decoder(model, patches)
            case _:
                pass
    return total.flops(False, False)


def patches_of(model: MoonViTModel, side: int) -> int:
    """Patches of a square image of `side` pixels a side: the largest that a resolution cap lets through."""
    return max(1, side // model.patch) ** 2


def _twice_forward(work: Work, moves: bool) -> float:
    return work.flops(moves, True) + FLOPS_PER_MAC * (work.weights + work.attention)


def _text_tower(model: TextTowerModel) -> Work:
    """A caption of full length, without mask; the last position's projection."""
    layer = Work(encoder_layer(model.hidden, model.ffn), 2 * model.hidden * model.length)
    return layer * (model.layers * model.length) + Work(model.hidden * model.hidden)


def _pooling(model: ContrastiveModel, patches: int) -> Work:
    """One learned query over an image's patches: keys and values of every patch, the rest once."""
    weights = 2 * model.hidden * model.hidden * (patches + 1) + 2 * model.hidden * model.ffn
    return Work(weights, 2 * model.hidden * patches)


def _decoder(model: CaptionDecoderModel, patches: int) -> Work:
    """A caption of full length: causal attention, cross-attention to the patches, and the head (the embedding)."""
    positions, hidden = model.length - 1, model.hidden
    own = encoder_layer(hidden, model.ffn) + 2 * hidden * hidden  # cross-attention's query and output come on top
    weights = own * positions + 2 * model.vision_hidden * hidden * patches
    attention = 2 * hidden * positions * (positions / 2 + patches)
    return Work(weights, attention) * model.layers + Work(hidden * model.vocab * positions)
