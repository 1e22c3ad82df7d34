"""How many parameters a model has, in closed form from its resolved fields: no model is built."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import assert_never

from stages.spec.decoder import Attention, Decoder, Dense, FeedForward, Latent, Mixture
from stages.spec.language_model import LanguageModel
from stages.spec.resolved_models import (
    CaptionDecoderModel,
    ContrastiveModel,
    Model,
    MoonViTModel,
    ProjectorModel,
    TextTowerModel,
)


@dataclass(frozen=True)
class Parameters:
    """Counts of one module.

    `embedding` are tables that are looked up (tokens, positions), `head` an output matrix of its own, and `idle` the
    routed experts that a token does not take. A looped model's layers count once, however often they run.
    """

    total: int
    embedding: int
    head: int
    idle: int = 0

    @property
    def layers(self) -> int:
        """All but embedding and head."""
        return self.total - self.embedding - self.head

    @property
    def active(self) -> int:
        """Parameters that one token passes through, without embedding and head (2.24B for Moonlight-16B-A3B)."""
        return self.layers - self.idle


@lru_cache(256)  # called by every check of memory, for each phase of each stage
def parameters(model: Model) -> Parameters:
    """The counts of a model; buffers (the router's bias) are no parameters."""
    if isinstance(model, LanguageModel):
        return _decoder(model.parts)
    match model.family:
        case "moonvit":
            return _moonvit(model)
        case "text_tower":
            return _text_tower(model)
        case "caption_decoder":
            return _caption_decoder(model)
        case "contrastive":
            return _contrastive(model)
        case "projector":
            return _projector(model)
        case _:
            assert_never(model)


def total(models: Iterable[Model]) -> int:
    """Parameters of all of these."""
    return sum(parameters(one).total for one in models)


def _decoder(model: Decoder) -> Parameters:
    """A language model around its layers: embedding, final norm, head (the embedding again where tied), exit gate."""
    table, hidden = model.vocab * model.hidden, model.hidden
    head = 0 if model.tied else table
    layers = sum(
        attention(one.attention, hidden) + feed_forward(one.feed_forward, hidden) + len(list(one.norms)) * hidden
        for one in model.layers
    )
    gate = hidden + 1 if model.looped else 0
    idle = sum(3 * hidden * one.ffn * (one.experts - one.active) for one in _mixtures(model))
    return Parameters(layers + gate + hidden + table + head, table, head, idle)


def routed(model: Decoder) -> int:
    """Parameters of all routed experts."""
    return sum(3 * model.hidden * one.ffn * one.experts for one in _mixtures(model))


def _mixtures(model: Decoder) -> list[Mixture]:
    return [one.feed_forward for one in model.layers if isinstance(one.feed_forward, Mixture)]


def attention(one: Attention, hidden: int) -> int:
    """Parameters of a layer's attention, its own norms among them."""
    if isinstance(one, Latent):
        return (
            hidden * (one.query_key + one.rank + one.rope)
            + one.rank
            + one.rank * one.heads * (one.nope + one.value)
            + one.values * hidden
        )
    keys = one.kv_heads * one.head_dim
    biases = one.query_key + 2 * keys if one.qkv_bias else 0
    norms = {None: 0, "head": 2 * one.head_dim, "whole": one.query_key + keys}[one.qk_norm]
    return 2 * hidden * (one.query_key + keys) + biases + norms


def feed_forward(one: FeedForward, hidden: int) -> int:
    """Parameters of a layer's feed-forward part, all experts and the router's matrix among them."""
    if isinstance(one, Dense):
        return 3 * hidden * one.ffn
    return 3 * hidden * one.ffn * (one.experts + one.shared) + one.experts * hidden


def _linear(inputs: int, outputs: int) -> int:
    return (inputs + 1) * outputs


def _mlp(hidden: int, ffn: int) -> int:
    return _linear(hidden, ffn) + _linear(ffn, hidden)


def _attention(hidden: int, source: int) -> int:
    """Queries and output of `hidden`, keys and values of `source`, all with biases."""
    return 2 * _linear(hidden, hidden) + 2 * _linear(source, hidden)


def _encoder_layer(hidden: int, ffn: int) -> int:
    """Attention, a feed-forward part and two norms."""
    return _attention(hidden, hidden) + _mlp(hidden, ffn) + 4 * hidden


def _moonvit(model: MoonViTModel) -> Parameters:
    hidden, table = model.hidden, model.table**2 * model.hidden
    patches = _linear(model.channels * model.patch**2, hidden)
    return Parameters(model.layers * _encoder_layer(hidden, model.ffn) + 2 * hidden + patches + table, table, 0)


def _text_tower(model: TextTowerModel) -> Parameters:
    hidden, tables = model.hidden, (model.vocab + model.length) * model.hidden
    layers = model.layers * _encoder_layer(hidden, model.ffn)
    return Parameters(layers + 2 * hidden + _linear(hidden, hidden) + tables, tables, 0)


def _caption_decoder(model: CaptionDecoderModel) -> Parameters:
    """Self-attention, cross-attention to the patches and a feed-forward part; the head is the embedding."""
    hidden, tables = model.hidden, (model.vocab + model.length) * model.hidden
    layer = _attention(hidden, hidden) + _attention(hidden, model.vision_hidden) + _mlp(hidden, model.ffn) + 6 * hidden
    return Parameters(model.layers * layer + 2 * hidden + tables, tables, 0)


def _contrastive(model: ContrastiveModel) -> Parameters:
    """The probe, its attention, a norm and a feed-forward part; temperature and bias."""
    hidden = model.hidden
    return Parameters(hidden + _attention(hidden, hidden) + 2 * hidden + _mlp(hidden, model.ffn) + 2, 0, 0)


def _projector(model: ProjectorModel) -> Parameters:
    merged = model.merge**2 * model.vision_hidden
    return Parameters(2 * model.vision_hidden + _linear(merged, merged) + _linear(merged, model.llm_hidden), 0, 0)
