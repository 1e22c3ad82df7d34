"""OLMo 2 (arXiv 2501.00656, section 2.1): norms behind the sub-layers alone, and over all queries and all keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from stages.spec import language_model as lm
from stages.spec.decoder import POST_NORMS, Decoder, Dense, Grouped, Layer
from stages.spec.released import Released, grouped, rotary


class Olmo2Model(lm.LanguageModel):
    """OLMo 2: post-norms, QK-norm over all heads together, SwiGLU, rotary positions; heads divide the hidden size."""

    family: Literal["olmo2"]
    layers: lm.Layers
    hidden: lm.Size
    ffn: lm.Size
    heads: lm.Size
    kv_heads: lm.Size
    vocab: lm.Vocabulary
    norm_eps: lm.NormEps
    tied: bool
    init_std: lm.InitStd

    PUBLISHED: ClassVar[lm.Published] = lm.Published(
        architecture="Olmo2ForCausalLM",
        model_type="olmo2",
        names={**lm.SHARED, "kv_heads": "num_key_value_heads"},
        fixed={**lm.SWIGLU, "pad_token_id": None},  # transformers gives no gradient to the row of a padding token
        free=frozenset({"pad_token_id"}),
        scaling_kind="type",  # transformers 4.57 reads no other key there
        scaled="transformers 4.57 refuses every scaling but `linear`; 5 reads all",
        absent={"hidden_act": "silu", "rms_norm_eps": 1e-5, "max_position_embeddings": 2048, "initializer_range": 0.02},
    )
    RELEASED: ClassVar[Mapping[str, Released]] = {
        "OLMo-2-1124-7B": Released(grouped(32, 4096, 11_008, 32, 32, 100_352, "1e-6"), rotary("500_000")),
        "OLMo-2-1124-13B": Released(grouped(40, 5120, 13_824, 40, 40, 100_352, "1e-6"), rotary("500_000")),
    }

    def decoder(self) -> Decoder:
        """Equal layers."""
        head_dim = self.hidden // self.heads
        attention = Grouped(self.heads, self.kv_heads, head_dim, head_dim**-0.5, qk_norm="whole")
        layer = Layer(attention, Dense(self.ffn), POST_NORMS)
        return Decoder((layer,) * self.layers, self.hidden, self.vocab, self.norm_eps, self.tied)
