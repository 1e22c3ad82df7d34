"""What a language model is made of, layer by layer: what parameters, cost, memory, names and the module follow from.

A family (stages/spec/families) says it once, as plain values; nothing here imports torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

QKNorm = Literal["head", "whole"]  # over each head's dimensions (Qwen3), or over all heads together (OLMo-2)
Activation = Literal["silu", "gelu_tanh"]


@dataclass(frozen=True)
class Grouped:
    """Attention whose key and value heads are shared by groups of query heads (arXiv 2305.13245)."""

    heads: int
    kv_heads: int
    head_dim: int
    scale: float  # of the products of queries and keys
    qkv_bias: bool = False
    qk_norm: QKNorm | None = None
    softcap: float | None = None  # scores s become softcap * tanh(s / softcap) (arXiv 2408.00118, section 2)
    window: int | None = None  # keys that a query sees, its own among them; None: all before it
    local: bool = False  # rotated by the family's second base, without scaling (arXiv 2503.19786, section 2)
    turned: bool = True  # False: queries and keys have no positions (NoPE, arXiv 2305.19466)

    @property
    def rotated(self) -> int:
        """Dimensions of a head that are rotated, in the layers that have positions."""
        return self.head_dim

    @property
    def query_key(self) -> int:
        """Width of all heads' queries."""
        return self.heads * self.head_dim

    @property
    def values(self) -> int:
        """Width of all heads' outputs."""
        return self.heads * self.head_dim

    @property
    def kept_for_rows(self) -> int:
        """Numbers a position that later queries need: keys and values."""
        return 2 * self.kv_heads * self.head_dim


@dataclass(frozen=True)
class Latent:
    """MLA without a query latent (arXiv 2405.04434, section 2.1); the latent has a norm of its own epsilon."""

    heads: int
    rank: int
    nope: int
    rope: int
    value: int
    eps: float

    window: None = None
    local: bool = False
    turned: bool = True

    @property
    def rotated(self) -> int:
        """Dimensions of a head that are rotated."""
        return self.rope

    @property
    def query_key(self) -> int:
        """Width of all heads' queries."""
        return self.heads * (self.nope + self.rope)

    @property
    def values(self) -> int:
        """Width of all heads' outputs."""
        return self.heads * self.value

    @property
    def kept_for_rows(self) -> int:
        """Numbers a position that later queries need: keys and values, as trained."""
        return self.heads * (self.nope + self.rope + self.value)


@dataclass(frozen=True)
class Dense:
    """A gated feed-forward network without biases (arXiv 2002.05202)."""

    ffn: int
    activation: Activation = "silu"


@dataclass(frozen=True)
class Mixture:
    """Routed experts, and shared ones as one wide network.

    sigmoid: scores by sigmoid, chosen by score + a bias that a rule moves (arXiv 2412.19437, section 2.1.2); softmax:
    chosen and weighed by probability (Qwen3, arXiv 2505.09388). Weights are divided by their sum where `normalised`.
    """

    experts: int
    active: int
    ffn: int
    shared: int
    scoring: Literal["sigmoid", "softmax"]
    normalised: bool
    scale: float


@dataclass(frozen=True)
class Norms:
    """The names of a layer's norms: before each sub-layer, and behind it, ahead of the sum. None: there is none."""

    before_attention: str | None
    after_attention: str | None
    before_feed_forward: str | None
    after_feed_forward: str | None

    def __iter__(self) -> Iterator[str]:
        """Those that there are, in the order of the stream."""
        of_attention = self.before_attention, self.after_attention
        names = (*of_attention, self.before_feed_forward, self.after_feed_forward)
        return (name for name in names if name is not None)

    @property
    def before(self) -> int:
        """How many read the stream."""
        return (self.before_attention is not None) + (self.before_feed_forward is not None)

    @property
    def behind(self) -> int:
        """How many are behind a sub-layer."""
        return (self.after_attention is not None) + (self.after_feed_forward is not None)


PRE_NORMS = Norms("input_layernorm", None, "post_attention_layernorm", None)  # Llama's
POST_NORMS = Norms(None, "post_attention_layernorm", None, "post_feedforward_layernorm")  # OLMo 2's
FOUR_NORMS = Norms(  # Gemma 2's
    "input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm"
)  # fmt: skip

Attention: TypeAlias = Grouped | Latent
FeedForward: TypeAlias = Dense | Mixture


@dataclass(frozen=True)
class Layer:
    """One block: attention, then a feed-forward part, each added to the stream."""

    attention: Attention
    feed_forward: FeedForward
    norms: Norms


@dataclass(frozen=True)
class Decoder:
    """A causal language model: embedding, layers, final norm, head."""

    layers: tuple[Layer, ...]
    hidden: int
    vocab: int
    eps: float
    tied: bool
    looped: bool = False  # all layers are run several times, with an exit gate behind each (arXiv 2510.25741)
    gain_offset: bool = False  # norms multiply by 1 + gain (Gemma)
    embedding_scale: float | None = None
    softcap: float | None = None  # of the logits
    local_base: float | Literal["unscaled"] | None = None  # rotary base of local layers; "unscaled": the stage's

    @property
    def rotated(self) -> int:
        """Dimensions of a head that are rotated, the same in every layer."""
        return self.layers[0].attention.rotated

    @cached_property
    def attentions(self) -> Mapping[Attention, int]:
        """The different ones, and in how many layers each is."""
        return Counter(one.attention for one in self.layers)

    @cached_property
    def feed_forwards(self) -> Mapping[FeedForward, int]:
        """The different ones, and in how many layers each is."""
        return Counter(one.feed_forward for one in self.layers)

    @property
    def mixture(self) -> Mixture | None:
        """The routed experts, the same in every layer that has some; None without."""
        return next((one for one in self.feed_forwards if isinstance(one, Mixture)), None)

    @cached_property
    def windows(self) -> tuple[int | None, ...]:
        """Keys that a query sees in each layer; None: all before it."""
        return tuple(one.attention.window for one in self.layers)


def windowed(layers: int, full_every: int, window: int) -> Iterator[int | None]:
    """The window of each layer where every n-th layer sees all keys and the others see `window` of them."""
    return (None if (layer + 1) % full_every == 0 else window for layer in range(layers))
