"""The base of the families of language models: what each one's file has to say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from stages.spec import domains
from stages.spec.decoder import Decoder, Grouped
from stages.spec.frozen import Frozen
from stages.spec.released import Released

Layers = Annotated[int, domains.LAYERS]
Size = Annotated[int, domains.SIZE]
SizeOrNone = Annotated[int, domains.SIZE_OR_NONE]
Vocabulary = Annotated[int, domains.VOCABULARY]
NormEps = Annotated[float, domains.NORM_EPS]
InitStd = Annotated[float, domains.INIT_STD]
Softcap = Annotated[float, domains.SOFTCAP]

# config.json's names of what every language model has.
SHARED = {
    "vocab": "vocab_size", "hidden": "hidden_size", "ffn": "intermediate_size", "layers": "num_hidden_layers",
    "heads": "num_attention_heads", "init_std": "initializer_range", "norm_eps": "rms_norm_eps",
    "tied": "tie_word_embeddings",
}  # fmt: skip
HEADS = {"kv_heads": "num_key_value_heads", "head_dim": "head_dim"}
SWIGLU: Mapping[str, Any] = {"hidden_act": "silu", "attention_bias": False, "attention_dropout": 0.0}
ALL_KEYS, LOCAL_KEYS = "full_attention", "sliding_attention"  # transformers' words in `layer_types`


@dataclass(frozen=True)
class Published:
    """A family in the terms of Hugging Face's config.json.

    `names` are its names of our fields, `fixed` what is in every config.json of the family. `absent` is what
    transformers takes where a field is not given, `free` are fields without effect here, beyond those that are for all
    families. `layer_types`: whether each layer's attention is named there. `scaling_kind`: the key that names the kind
    of scaling of rotary positions; `scaled`: which versions of transformers read scaled ones otherwise, in words.
    """

    architecture: str
    model_type: str
    names: Mapping[str, str]
    fixed: Mapping[str, Any]
    absent: Mapping[str, Any]
    free: frozenset[str] = frozenset()
    aliases: Mapping[str, str] = field(default_factory=dict)  # other names that some versions write -> the usual one
    layer_types: bool = False
    scaling_kind: str = "rope_type"
    scaled: str = ""
    full_every: int | None = None  # how often a layer sees all keys, where config.json does not say it


class LanguageModel(Frozen):
    """A model that reads and writes tokens. A family is a subclass in a file of its own, with every field declared."""

    PUBLISHED: ClassVar[Published]
    RELEASED: ClassVar[Mapping[str, Released]] = {}  # models of the family, by the last part of the hub's id
    NEMO: ClassVar[bool] = False  # whether the NeMo engine has code for it
    LOOPED: ClassVar[bool] = False  # whether its layers are run several times: a phase then says `loops`
    ROUTED: ClassVar[bool] = False  # whether it has routed experts: a phase that trains it then says `router`
    if TYPE_CHECKING:  # fields of every family, each in the place that the family's file gives it
        family: str
        layers: Layers
        hidden: Size
        ffn: Size
        heads: Size
        vocab: Vocabulary
        norm_eps: NormEps
        tied: bool
        init_std: InitStd

    def decoder(self) -> Decoder:
        """What it is made of. Raises ValueError for figures that fit no layer."""
        raise NotImplementedError(f"{self.family} does not say what it is made of")

    def first_values(self) -> dict[str, float]:
        """What parameters start at that are not drawn, where it is not 1 for norms and 0 for biases, by the end of
        their names: 0 for gains that are added to 1.
        """
        return {"norm.weight": 0.0} if self.parts.gain_offset else {}

    def derived(self) -> dict[str, Any]:
        """Fields of config.json that follow from several of ours."""
        return {}

    def indivisible(self) -> str | None:
        """Which heads, experts or layers do not come out whole, in words."""
        attention, mixture = self.parts.layers[0].attention, self.parts.mixture
        if isinstance(attention, Grouped) and (attention.heads % attention.kv_heads or attention.head_dim % 2):
            return f"{attention.heads} heads of {attention.head_dim} over {attention.kv_heads} key-value heads"
        if attention.rotated % 2:
            return f"{attention.rotated} rotated dimensions"
        if "head_dim" not in type(self).model_fields and isinstance(attention, Grouped) and self.hidden % self.heads:
            return f"{self.hidden} in {self.heads} heads"
        if mixture is not None and not 0 < mixture.active <= mixture.experts:
            return f"{mixture.active} of {mixture.experts} experts"
        return None

    def implied(self) -> dict[str, Any]:
        """Fields that transformers writes next to those that it needs: a folder may have them, with these values."""
        return {} if "head_dim" in type(self).model_fields else {"head_dim": self.hidden // self.heads}

    @classmethod
    def absent(cls, found: Mapping[str, Any]) -> dict[str, Any]:
        """What transformers takes for each field that a config.json does not give, if it gives these."""
        heads: Any = found.get("num_attention_heads")
        hidden: Any = found.get("hidden_size")
        given = isinstance(heads, int) and heads > 0 and isinstance(hidden, int)
        usual = {"num_key_value_heads": heads, "head_dim": hidden // heads if given else None}
        return {**usual, "tie_word_embeddings": False, **cls.PUBLISHED.absent}

    @classmethod
    def pattern(cls, found: Mapping[str, Any]) -> dict[str, Any]:
        """How often a layer sees all keys, of a config.json that does not name the kind of each layer."""
        if "full_every" not in cls.model_fields:
            return {}
        every = found.get("sliding_window_pattern")
        return {"full_every": every if every is not None else cls.PUBLISHED.full_every}

    def published(self) -> dict[str, Any]:
        """Our fields under config.json's names."""
        found = {theirs: getattr(self, ours) for ours, theirs in self.PUBLISHED.names.items()}
        if "window" in self.PUBLISHED.names:
            found["sliding_window"] = found["sliding_window"] or None
        return found

    @property
    def parts(self) -> Decoder:
        """`decoder`, made once."""
        return _parts(self)


@cache
def _parts(model: LanguageModel) -> Decoder:
    return model.decoder()
