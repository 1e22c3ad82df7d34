"""Resolved models: language models of any family, the towers and heads next to them, and rotary positions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Union

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from stages.spec import domains
from stages.spec.families import FAMILIES
from stages.spec.frozen import Frozen
from stages.spec.language_model import InitStd, LanguageModel, Layers, NormEps, Size, Vocabulary

Pixels = Annotated[int, domains.PIXELS]

LANGUAGE_MODELS = tuple(FAMILIES)  # families that read and write tokens
LOOPED = tuple(name for name, one in FAMILIES.items() if one.LOOPED)
ROUTED = tuple(name for name, one in FAMILIES.items() if one.ROUTED)


class Llama3Scaling(Frozen):
    """Llama 3.1's frequency-dependent scaling (transformers' rope_type "llama3"); lengths in tokens."""

    factor: float
    low: float
    high: float
    original: int


class Yarn(Frozen):
    """YaRN (Peng et al. 2023, arXiv 2309.00071; transformers' rope_type "yarn"), under transformers' names.

    Pairs that turn more than `beta_fast` times over the original length stay, those that turn less than `beta_slow`
    times are divided by `factor`, those between are blended, evenly by their number; `truncate` moves both ends of that
    blend to whole pairs. What the three last fields do: `stages.contract.rope.attention_factor`, `score_factor`.
    """

    factor: float
    original: int  # tokens
    beta_fast: float
    beta_slow: float
    truncate: bool
    attention_factor: float | None
    mscale: float | None
    mscale_all_dim: float | None


class Rope(Frozen):
    """Rotary positions: frequencies base^(-2i/d), then llama3 scaling, then division of all by `interpolation`.

    YaRN is in the place of both. It came later: without it, a value is written as it was before.
    """

    LATER_FIELDS: ClassVar[frozenset[str]] = frozenset({"yarn"})
    base: float
    llama3: Llama3Scaling | None
    interpolation: float  # position interpolation (Chen et al. 2023): 1.0 = none
    yarn: Yarn | None = None

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        found: dict[str, Any] = write(self)
        if self.yarn is None:
            found.pop("yarn", None)
        return found


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


if TYPE_CHECKING:
    Model = (
        LanguageModel | MoonViTModel | TextTowerModel | CaptionDecoderModel | ContrastiveModel | ProjectorModel
    )  # fmt: skip
else:  # the same, with every family's own fields
    Model = Annotated[
        Union[(
            *FAMILIES.values(), MoonViTModel, TextTowerModel, CaptionDecoderModel, ContrastiveModel, ProjectorModel
        )],
        Field(discriminator="family"),
    ]  # fmt: skip
