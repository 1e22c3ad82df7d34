"""Resolved models: every size of every architecture, and rotary positions."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stages.spec.frozen import Frozen


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
    layers: int
    hidden: int
    ffn: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    norm_eps: float
    tied: bool
    init_std: float


class OuroModel(Frozen):
    """Ouro (LoopLM): one stack run T times, four norms a layer, shared final norm each loop, exit gate."""

    family: Literal["ouro"]
    layers: int
    hidden: int
    ffn: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    norm_eps: float
    tied: bool
    init_std: float
    post_norm_gain: float  # what the gains of the norms behind the sub-layers start at


class MoonlightModel(Frozen):
    """Moonlight (DeepSeek-V3 architecture): MLA, shared + routed experts, sigmoid router with bias balancing."""

    family: Literal["moonlight"]
    layers: int
    dense_layers: int  # the first layers whose FFN is dense
    hidden: int
    ffn: int
    heads: int
    vocab: int
    kv_lora_rank: int
    qk_nope_dim: int
    qk_rope_dim: int
    v_head_dim: int
    experts: int
    active_experts: int
    shared_experts: int
    expert_ffn: int
    routed_scale: float
    norm_eps: float
    tied: bool
    init_std: float


class MoonViTModel(Frozen):
    """MoonViT: packed native-resolution patches, interpolated 2D position table and 2D RoPE."""

    family: Literal["moonvit"]
    layers: int
    hidden: int
    ffn: int
    heads: int
    patch: int  # pixels a side
    channels: int
    table: int  # learned position table, table x table
    rope_base: float
    norm_eps: float
    init_std: float


class TextTowerModel(Frozen):
    """SigLIP's text encoder: bidirectional, last-token pooling, a projection to the shared space."""

    family: Literal["text_tower"]
    layers: int
    hidden: int
    ffn: int
    heads: int
    vocab: int
    length: int
    norm_eps: float
    init_std: float


class CaptionDecoderModel(Frozen):
    """CoCa's tiny decoder: causal over the caption, cross-attending to the image's patch features."""

    family: Literal["caption_decoder"]
    layers: int
    hidden: int
    ffn: int
    heads: int
    vocab: int
    length: int
    vision_hidden: int
    norm_eps: float
    init_std: float


class ContrastiveModel(Frozen):
    """SigLIP's attention-pooling head over patch features, and the loss's learnable t = exp(t') and bias b.

    `hidden` is the shared space: the vision tower's and the text tower's hidden size must both equal it.
    """

    family: Literal["contrastive"]
    hidden: int
    ffn: int
    heads: int
    norm_eps: float
    init_std: float
    init_log_temperature: float
    init_bias: float


class ProjectorModel(Frozen):
    """Kimi-VL's projector: LayerNorm, merge x merge pixel shuffle, two linear layers with GELU."""

    family: Literal["projector"]
    vision_hidden: int
    merge: int
    llm_hidden: int
    norm_eps: float
    init_std: float


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
