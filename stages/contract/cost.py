"""Floating-point operations of training, in closed form.

The convention is that of PaLM (arXiv 2204.02311, appendix B), except that it counts causal attention whole: a
multiply-accumulate is 2 operations; only matrix products count (no norms, activations, softmax, lookups); the backward
pass costs twice the forward, once for the gradient of the weights and once for that of the inputs; causal attention
sees half of the row on average, T/2 keys at each of T positions; recomputation is not counted.

What a frozen module leaves out follows from the same rule: no gradient of its weights, and none of its inputs where
nothing before it is trained. Language models count their output matrix at every position, looped ones once a loop.
A mixture of experts counts the experts that a token takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from stages.spec.resolved_models import LlamaModel, MoonlightModel, MoonViTModel, OuroModel, ProjectorModel

LanguageModel = LlamaModel | OuroModel | MoonlightModel
FLOPS_PER_MAC = 2


@dataclass(frozen=True)
class Work:
    """Multiply-accumulates of one forward pass, of products with weights and of attention (which has no weights)."""

    weights: float
    attention: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(self.weights + other.weights, self.attention + other.attention)

    def __mul__(self, factor: float) -> Work:
        return Work(self.weights * factor, self.attention * factor)

    def flops(self, trained: bool, gradient: bool) -> float:
        """Forward and backward: `trained` if its weights move, `gradient` if one flows through (it does if they do).

        Both operands of attention's products are activations: where a gradient flows they cost 3 x forward.
        """
        gradient = gradient or trained
        return FLOPS_PER_MAC * (self.weights * (1 + trained + gradient) + self.attention * (1 + 2 * gradient))


def language_model(model: LanguageModel, context: float, loops: int = 1) -> Work:
    """One position of a row of `context` positions; `loops` is Ouro's number of loops, 1 for others."""
    head = Work(model.hidden * model.vocab)
    keys = context / 2
    match model.family:
        case "moonlight":
            return _latent_attention(model, keys) * model.layers + Work(_feed_forward(model)) + head
        case "llama":
            return (_grouped_attention(model, keys) + head) * loops
        case "ouro":
            return (_grouped_attention(model, keys) + Work(model.hidden) + head) * loops  # with the exit gate
        case _:
            assert_never(model)


def _grouped_attention(model: LlamaModel | OuroModel, keys: float) -> Work:
    """All layers: attention with grouped queries, and SwiGLU."""
    weights = 2 * model.hidden * model.head_dim * (model.heads + model.kv_heads) + 3 * model.hidden * model.ffn
    return Work(weights, 2 * model.heads * model.head_dim * keys) * model.layers


def _latent_attention(model: MoonlightModel, keys: float) -> Work:
    """MLA as trained: keys and values are made from the latent at every position (arXiv 2405.04434, section 2.1)."""
    query_key = model.heads * (model.qk_nope_dim + model.qk_rope_dim)
    weights = model.hidden * query_key + model.hidden * (model.kv_lora_rank + model.qk_rope_dim)
    weights += model.kv_lora_rank * model.heads * (model.qk_nope_dim + model.v_head_dim)
    weights += model.heads * model.v_head_dim * model.hidden
    return Work(weights, (query_key + model.heads * model.v_head_dim) * keys)


def _feed_forward(model: MoonlightModel) -> int:
    """All layers: dense ones first, then router, shared and taken experts."""
    dense = 3 * model.hidden * model.ffn
    experts = 3 * model.hidden * model.expert_ffn * (model.active_experts + model.shared_experts)
    sparse = experts + model.experts * model.hidden
    return model.dense_layers * dense + (model.layers - model.dense_layers) * sparse


def vision_tower(model: MoonViTModel, patches: int) -> Work:
    """One patch of an image of `patches` patches, all of which see each other."""
    layer = Work(encoder_layer(model.hidden, model.ffn), 2 * model.hidden * patches)
    return layer * model.layers + Work(model.channels * model.patch**2 * model.hidden)


def projector(model: ProjectorModel) -> Work:
    """One image token: merge x merge patches through two linear layers."""
    merged = model.merge**2 * model.vision_hidden
    return Work(merged * merged + merged * model.llm_hidden)


def encoder_layer(hidden: int, ffn: int) -> int:
    """Weights of an encoder layer's matrices: query, key, value, output, and a feed-forward part of two."""
    return 4 * hidden * hidden + 2 * hidden * ffn
