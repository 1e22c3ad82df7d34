"""Resolved models: every size of every architecture, and rotary positions."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stages.spec import domains
from stages.spec.frozen import Frozen

Layers = Annotated[int, domains.LAYERS]
Size = Annotated[int, domains.SIZE]
SizeOrNone = Annotated[int, domains.SIZE_OR_NONE]
Vocabulary = Annotated[int, domains.VOCABULARY]
NormEps = Annotated[float, domains.NORM_EPS]
InitStd = Annotated[float, domains.INIT_STD]
Pixels = Annotated[int, domains.PIXELS]


LANGUAGE_MODELS = ("llama", "ouro", "moonlight")  # families that read and write tokens


class Llama3Scaling(Frozen):
    """Llama 3.1's frequency-dependent scaling (transformers' rope_type "llama3"); lengths in tokens."""

    factor: float
    low: float
    high: float
    original: int


class Rope(Frozen):
    """Rotary positions: frequencies base^(-2i/d), then llama3 scaling, then division of all by `interpolation`."""

    base: float
    llama3: Llama3Scaling | None
    interpolation: float  # position interpolation (Chen et al. 2023): 1.0 = none


class LlamaModel(Frozen):
    """Llama 3: RMSNorm, SwiGLU, grouped-query attention, rotary positions."""

    family: Literal["llama"]
    layers: Layers
    hidden: Size
    ffn: Size
    heads: Size
    kv_heads: Size
    head_dim: Size
    vocab: Vocabulary
    norm_eps: NormEps
    tied: bool
    init_std: InitStd


class OuroModel(Frozen):
    """Ouro (LoopLM): one stack run T times, four norms a layer, shared final norm each loop, exit gate."""

    family: Literal["ouro"]
    layers: Layers
    hidden: Size
    ffn: Size
    heads: Size
    kv_heads: Size
    head_dim: Size
    vocab: Vocabulary
    norm_eps: NormEps
    tied: bool
    init_std: InitStd
    post_norm_gain: Annotated[float, domains.GAIN]  # what the gains of the norms behind the sub-layers start at


class MoonlightModel(Frozen):
    """Moonlight (DeepSeek-V3 architecture): MLA, shared + routed experts, sigmoid router with bias balancing."""

    family: Literal["moonlight"]
    layers: Layers
    dense_layers: SizeOrNone  # the first layers whose FFN is dense
    hidden: Size
    ffn: Size
    heads: Size
    vocab: Vocabulary
    kv_lora_rank: Size
    qk_nope_dim: Size
    qk_rope_dim: Size
    v_head_dim: Size
    experts: Size
    active_experts: Size
    shared_experts: SizeOrNone
    expert_ffn: Size
    routed_scale: Annotated[float, domains.ROUTED_SCALE]
    norm_eps: NormEps
    tied: bool
    init_std: InitStd


class MoonViTModel(Frozen):
    """MoonViT: packed native-resolution patches, interpolated 2D position table and 2D RoPE."""

    family: Literal["moonvit"]
    layers: Layers
    hidden: Size
    ffn: Size
    heads: Size
    patch: Pixels  # pixels a side
    channels: Annotated[int, domains.CHANNELS]
    table: Size  # learned position table, table x table
    rope_base: Annotated[float, domains.ROPE_BASE]
    norm_eps: NormEps
    init_std: InitStd


class TextTowerModel(Frozen):
    """SigLIP's text encoder: bidirectional, last-token pooling, a projection to the shared space."""

    family: Literal["text_tower"]
    layers: Layers
    hidden: Size
    ffn: Size
    heads: Size
    vocab: Vocabulary
    length: Size
    norm_eps: NormEps
    init_std: InitStd


class CaptionDecoderModel(Frozen):
    """CoCa's tiny decoder: causal over the caption, cross-attending to the image's patch features."""

    family: Literal["caption_decoder"]
    layers: Layers
    hidden: Size
    ffn: Size
    heads: Size
    vocab: Vocabulary
    length: Size
    vision_hidden: Size
    norm_eps: NormEps
    init_std: InitStd


class ContrastiveModel(Frozen):
    """SigLIP's attention-pooling head over patch features, and the loss's learnable t = exp(t') and bias b.

    `hidden` is the shared space: the vision tower's and the text tower's hidden size must both equal it.
    """

    family: Literal["contrastive"]
    hidden: Size
    ffn: Size
    heads: Size
    norm_eps: NormEps
    init_std: InitStd
    init_log_temperature: Annotated[float, domains.LOG_TEMPERATURE]
    init_bias: Annotated[float, domains.BIAS]


class ProjectorModel(Frozen):
    """Kimi-VL's projector: LayerNorm, merge x merge pixel shuffle, two linear layers with GELU."""

    family: Literal["projector"]
    vision_hidden: Size
    merge: Size
    llm_hidden: Size
    norm_eps: NormEps
    init_std: InitStd


Model = Annotated[
    LlamaModel
    | OuroModel
    | MoonlightModel
    | MoonViTModel
    | TextTowerModel
    | CaptionDecoderModel
    | ContrastiveModel
    | ProjectorModel,
    Field(discriminator="family"),
]
