"""Floating-point operations of training, in closed form.

The convention is that of PaLM (arXiv 2204.02311, appendix B), except that it counts causal attention whole: a
multiply-accumulate is 2 operations; only matrix products count (no norms, activations, softmax, lookups); the backward
pass costs twice the forward, once for the gradient of the weights and once for that of the inputs; causal attention
sees half of the row on average, T/2 keys at each of T positions, and W - W^2/2T where a window of W keys ends
it before; recomputation is not counted.

What a frozen module leaves out follows from the same rule: no gradient of its weights, and none of its inputs where
nothing before it is trained. Language models count their output matrix at every position, looped ones once a loop.
A mixture of experts counts the experts that a token takes.
"""

from __future__ import annotations

from dataclasses import dataclass

from stages.spec.decoder import Attention, Dense, FeedForward, Latent
from stages.spec.language_model import LanguageModel
from stages.spec.resolved_models import MoonViTModel, ProjectorModel

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
    """One position of a row of `context` positions; `loops` is a looped model's number of loops, 1 for others."""
    parts = model.parts
    attention = [_of_attention(one, count, parts.hidden, context) for one, count in parts.attentions.items()]
    others = [Work(_of_feed_forward(one, parts.hidden)) * count for one, count in parts.feed_forwards.items()]
    gate = Work(parts.hidden if parts.looped else 0)
    ends = Work(parts.hidden * parts.vocab)
    return sum([*others, gate, ends], sum(attention, Work(0))) * loops


def _of_attention(one: Attention, count: int, hidden: int, context: float) -> Work:
    """`count` layers' attention. MLA as trained: keys and values are made from the latent at every position
    (arXiv 2405.04434, section 2.1)."""
    if isinstance(one, Latent):
        weights = hidden * one.query_key + hidden * (one.rank + one.rope)
        weights += one.rank * one.heads * (one.nope + one.value) + one.values * hidden
    else:
        weights = 2 * hidden * one.head_dim * (one.heads + one.kv_heads)
    return Work(weights, (one.query_key + one.values) * keys_seen(context, one.window)) * count


def keys_seen(context: float, window: int | None) -> float:
    """Keys that a position sees on the average of a row of `context` positions, at most `window` of them."""
    if window is None or window >= context:
        return context / 2
    return window - window * window / (2 * context)


def _of_feed_forward(one: FeedForward, hidden: int) -> int:
    """A layer's matrices: of a mixture router, shared and taken experts."""
    if isinstance(one, Dense):
        return 3 * hidden * one.ffn
    return 3 * hidden * one.ffn * (one.active + one.shared) + one.experts * hidden


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
