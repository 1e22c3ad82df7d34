"""Qwen3, dense (arXiv 2505.09388, section 2): Llama's blocks with a norm over each head's queries and keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from stages.spec import language_model as lm
from stages.spec.decoder import PRE_NORMS, Decoder, Dense, Grouped, Layer
from stages.spec.released import Released, grouped, rotary


class Qwen3Model(lm.LanguageModel):
    """Qwen3, dense: RMSNorm, SwiGLU, grouped-query attention with QK-norm, rotary positions."""

    family: Literal["qwen3"]
    layers: lm.Layers
    hidden: lm.Size
    ffn: lm.Size
    heads: lm.Size
    kv_heads: lm.Size
    head_dim: lm.Size
    vocab: lm.Vocabulary
    norm_eps: lm.NormEps
    tied: bool
    init_std: lm.InitStd

    PUBLISHED: ClassVar[lm.Published] = lm.Published(
        architecture="Qwen3ForCausalLM",
        model_type="qwen3",
        names=lm.SHARED | lm.HEADS,
        fixed={**lm.SWIGLU, "use_sliding_window": False, "sliding_window": None},
        absent={
            "hidden_act": "silu", "rms_norm_eps": 1e-6, "head_dim": 128, "num_key_value_heads": 32,
            "max_position_embeddings": 32_768, "tie_word_embeddings": False, "initializer_range": 0.02,
        },
        free=frozenset({"sliding_window"}),  # without effect while `use_sliding_window` is false
    )  # fmt: skip
    RELEASED: ClassVar[Mapping[str, Released]] = {
        "Qwen3-0.6B": Released(grouped(28, 1024, 3072, 16, 8, 151_936, "1e-6", 128), rotary("1_000_000")),
        "Qwen3-1.7B": Released(grouped(28, 2048, 6144, 16, 8, 151_936, "1e-6", 128), rotary("1_000_000")),
        "Qwen3-4B": Released(grouped(36, 2560, 9728, 32, 8, 151_936, "1e-6", 128), rotary("1_000_000")),
        "Qwen3-8B": Released(grouped(36, 4096, 12_288, 32, 8, 151_936, "1e-6", 128), rotary("1_000_000")),
        "Qwen3-14B": Released(grouped(40, 5120, 17_408, 40, 8, 151_936, "1e-6", 128), rotary("1_000_000")),
        "Qwen3-32B": Released(grouped(64, 5120, 25_600, 64, 8, 151_936, "1e-6", 128), rotary("1_000_000")),
    }

    def decoder(self) -> Decoder:
        """Equal layers."""
        attention = Grouped(self.heads, self.kv_heads, self.head_dim, self.head_dim**-0.5, qk_norm="head")
        layer = Layer(attention, Dense(self.ffn), PRE_NORMS)
        return Decoder((layer,) * self.layers, self.hidden, self.vocab, self.norm_eps, self.tied)
