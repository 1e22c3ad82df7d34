"""How many parameters a model has, in closed form from its resolved fields: no model is built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from stages.spec.resolved_models import (
    CaptionDecoderModel,
    ContrastiveModel,
    LlamaModel,
    Model,
    MoonlightModel,
    MoonViTModel,
    OuroModel,
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
    def active(self) -> int:
        """Parameters that one token passes through, without embedding and head (2.24B for Moonlight-16B-A3B)."""
        return self.total - self.embedding - self.head - self.idle


def parameters(model: Model) -> Parameters:
    """The counts of a model; buffers (the router's bias) are no parameters."""
    if model.family == "llama":
        return _with_ends(model, model.layers * (_grouped_attention(model) + _swiglu(model) + 2 * model.hidden))
    if model.family == "ouro":
        # Four norms a layer, and an exit gate with its bias (arXiv 2510.25741, section 3).
        layers = model.layers * (_grouped_attention(model) + _swiglu(model) + 4 * model.hidden)
        return _with_ends(model, layers + model.hidden + 1)
    if model.family == "moonlight":
        return _moonlight(model)
    if model.family == "moonvit":
        return _moonvit(model)
    if model.family == "text_tower":
        return _text_tower(model)
    if model.family == "caption_decoder":
        return _caption_decoder(model)
    if model.family == "contrastive":
        return _contrastive(model)
    if model.family == "projector":
        return _projector(model)
    assert_never(model)


def _with_ends(model: LlamaModel | OuroModel | MoonlightModel, layers: int, idle: int = 0) -> Parameters:
    """A language model around its layers: embedding, final norm, head (the embedding again where tied)."""
    table = model.vocab * model.hidden
    head = 0 if model.tied else table
    return Parameters(layers + model.hidden + table + head, table, head, idle)


def _grouped_attention(model: LlamaModel | OuroModel) -> int:
    return 2 * model.hidden * model.head_dim * (model.heads + model.kv_heads)


def _swiglu(model: LlamaModel | OuroModel | MoonlightModel) -> int:
    return 3 * model.hidden * model.ffn


def _moonlight(model: MoonlightModel) -> Parameters:
    """MLA (arXiv 2405.04434, section 2.1) without a query latent; norms of the stream and of the latent."""
    attention = model.hidden * model.heads * (model.qk_nope_dim + model.qk_rope_dim)
    attention += model.hidden * (model.kv_lora_rank + model.qk_rope_dim) + model.kv_lora_rank
    attention += model.kv_lora_rank * model.heads * (model.qk_nope_dim + model.v_head_dim)
    attention += model.heads * model.v_head_dim * model.hidden
    expert = 3 * model.hidden * model.expert_ffn
    mixture = expert * (model.experts + model.shared_experts) + model.experts * model.hidden
    sparse = model.layers - model.dense_layers
    layers = model.layers * (attention + 2 * model.hidden) + model.dense_layers * _swiglu(model) + sparse * mixture
    return _with_ends(model, layers, idle=sparse * expert * (model.experts - model.active_experts))


def _linear(inputs: int, outputs: int) -> int:
    return (inputs + 1) * outputs


def _mlp(hidden: int, ffn: int) -> int:
    return _linear(hidden, ffn) + _linear(ffn, hidden)


def _attention(hidden: int, source: int) -> int:
    """Queries and output of `hidden`, keys and values of `source`, all with biases."""
    return 2 * _linear(hidden, hidden) + 2 * _linear(source, hidden)


def _moonvit(model: MoonViTModel) -> Parameters:
    hidden, table = model.hidden, model.table**2 * model.hidden
    layer = _attention(hidden, hidden) + _mlp(hidden, model.ffn) + 4 * hidden
    patches = _linear(model.channels * model.patch**2, hidden)
    return Parameters(model.layers * layer + 2 * hidden + patches + table, table, 0)


def _text_tower(model: TextTowerModel) -> Parameters:
    hidden, tables = model.hidden, (model.vocab + model.length) * model.hidden
    layer = _attention(hidden, hidden) + _mlp(hidden, model.ffn) + 4 * hidden
    return Parameters(model.layers * layer + 2 * hidden + _linear(hidden, hidden) + tables, tables, 0)


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
