"""Mistral (arXiv 2310.06825): Llama's blocks; in its first release every layer's attention has a sliding window."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from stages.spec import language_model as lm
from stages.spec.decoder import PRE_NORMS, Decoder, Dense, Grouped, Layer
from stages.spec.released import Released, grouped, rotary


class MistralModel(lm.LanguageModel):
    """Mistral: RMSNorm, SwiGLU, grouped-query attention, rotary positions; one window for all layers, or none."""

    family: Literal["mistral"]
    layers: lm.Layers
    hidden: lm.Size
    ffn: lm.Size
    heads: lm.Size
    kv_heads: lm.Size
    head_dim: lm.Size
    window: lm.SizeOrNone  # keys that a query sees, its own among them; 0: all before it
    vocab: lm.Vocabulary
    norm_eps: lm.NormEps
    tied: bool
    init_std: lm.InitStd

    PUBLISHED: ClassVar[lm.Published] = lm.Published(
        architecture="MistralForCausalLM",
        model_type="mistral",
        names={**lm.SHARED, **lm.HEADS, "window": "sliding_window"},
        fixed={"hidden_act": "silu", "attention_dropout": 0.0},
        absent={
            "hidden_act": "silu", "rms_norm_eps": 1e-6, "num_key_value_heads": 8, "sliding_window": 4096,
            "max_position_embeddings": 131_072, "initializer_range": 0.02,
        },
    )  # fmt: skip
    RELEASED: ClassVar[Mapping[str, Released]] = {
        "Mistral-7B-v0.1": Released(
            {**grouped(32, 4096, 14_336, 32, 8, 32_000, "1e-5"), "window": "4096"}, rotary("10_000")
        ),
    }

    def decoder(self) -> Decoder:
        """Equal layers."""
        attention = Grouped(
            self.heads, self.kv_heads, self.head_dim, self.head_dim**-0.5, window=self.window or None
        )  # fmt: skip
        layer = Layer(attention, Dense(self.ffn), PRE_NORMS)
        return Decoder((layer,) * self.layers, self.hidden, self.vocab, self.norm_eps, self.tied)
