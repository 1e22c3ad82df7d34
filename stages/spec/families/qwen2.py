"""Qwen2 and Qwen2.5 (arXiv 2407.10671, section 2.2): Llama's blocks with biases on queries, keys and values."""

from __future__ import annotations

from typing import ClassVar, Literal

from stages.spec import language_model as lm
from stages.spec.decoder import PRE_NORMS, Decoder, Dense, Grouped, Layer


class Qwen2Model(lm.LanguageModel):
    """Qwen2: RMSNorm, SwiGLU, grouped-query attention with biases, rotary positions; heads divide the hidden size."""

    family: Literal["qwen2"]
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
        architecture="Qwen2ForCausalLM",
        model_type="qwen2",
        names={**lm.SHARED, "kv_heads": "num_key_value_heads"},
        fixed={"hidden_act": "silu", "attention_dropout": 0.0, "use_sliding_window": False, "sliding_window": None},
        absent={
            "hidden_act": "silu", "rms_norm_eps": 1e-6, "num_key_value_heads": 32, "max_position_embeddings": 32_768,
            "initializer_range": 0.02,
        },
        free=frozenset({"sliding_window"}),  # without effect while `use_sliding_window` is false
    )  # fmt: skip

    def decoder(self) -> Decoder:
        """Equal layers."""
        head_dim = self.hidden // self.heads
        attention = Grouped(self.heads, self.kv_heads, head_dim, head_dim**-0.5, qkv_bias=True)
        layer = Layer(attention, Dense(self.ffn), PRE_NORMS)
        return Decoder((layer,) * self.layers, self.hidden, self.vocab, self.norm_eps, self.tied)
