"""Qwen3, dense (arXiv 2505.09388, section 2): Llama's blocks with a norm over each head's queries and keys."""

from __future__ import annotations

from typing import ClassVar, Literal

from stages.spec.decoder import PRE_NORMS, Decoder, Dense, Grouped, Layer
from stages.spec.language_model import (
    HEADS,
    SHARED,
    SWIGLU,
    InitStd,
    LanguageModel,
    Layers,
    NormEps,
    Published,
    Size,
    Vocabulary,
)


class Qwen3Model(LanguageModel):
    """Qwen3, dense: RMSNorm, SwiGLU, grouped-query attention with QK-norm, rotary positions."""

    family: Literal["qwen3"]
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

    PUBLISHED: ClassVar[Published] = Published(
        architecture="Qwen3ForCausalLM",
        model_type="qwen3",
        names=SHARED | HEADS,
        fixed={**SWIGLU, "use_sliding_window": False, "sliding_window": None},
        absent={
            "hidden_act": "silu", "rms_norm_eps": 1e-6, "head_dim": 128, "num_key_value_heads": 32,
            "max_position_embeddings": 32_768, "tie_word_embeddings": False, "initializer_range": 0.02,
        },
        free=frozenset({"sliding_window"}),  # without effect while `use_sliding_window` is false
    )  # fmt: skip

    def decoder(self) -> Decoder:
        """Equal layers."""
        attention = Grouped(self.heads, self.kv_heads, self.head_dim, self.head_dim**-0.5, qk_norm="head")
        layer = Layer(attention, Dense(self.ffn), PRE_NORMS)
        return Decoder((layer,) * self.layers, self.hidden, self.vocab, self.norm_eps, self.tied)
