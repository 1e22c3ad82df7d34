"""Mistral (arXiv 2310.06825): Llama's blocks; in its first release every layer's attention has a sliding window."""

from __future__ import annotations

from typing import ClassVar, Literal

from stages.spec.decoder import PRE_NORMS, Decoder, Dense, Grouped, Layer
from stages.spec.language_model import (
    HEADS,
    SHARED,
    InitStd,
    LanguageModel,
    Layers,
    NormEps,
    Published,
    Size,
    SizeOrNone,
    Vocabulary,
)


class MistralModel(LanguageModel):
    """Mistral: RMSNorm, SwiGLU, grouped-query attention, rotary positions; one window for all layers, or none."""

    family: Literal["mistral"]
    layers: Layers
    hidden: Size
    ffn: Size
    heads: Size
    kv_heads: Size
    head_dim: Size
    window: SizeOrNone  # keys that a query sees, its own among them; 0: all before it
    vocab: Vocabulary
    norm_eps: NormEps
    tied: bool
    init_std: InitStd

    PUBLISHED: ClassVar[Published] = Published(
        architecture="MistralForCausalLM",
        model_type="mistral",
        names={**SHARED, **HEADS, "window": "sliding_window"},
        fixed={"hidden_act": "silu", "attention_dropout": 0.0},
        absent={
            "hidden_act": "silu", "rms_norm_eps": 1e-6, "num_key_value_heads": 8, "sliding_window": 4096,
            "max_position_embeddings": 131_072, "initializer_range": 0.02,
        },
    )  # fmt: skip

    def decoder(self) -> Decoder:
        """Equal layers."""
        attention = Grouped(
            self.heads, self.kv_heads, self.head_dim, self.head_dim**-0.5, window=self.window or None
        )  # fmt: skip
        layer = Layer(attention, Dense(self.ffn), PRE_NORMS)
        return Decoder((layer,) * self.layers, self.hidden, self.vocab, self.norm_eps, self.tied)
