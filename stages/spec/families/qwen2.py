"""Qwen2 and Qwen2.5 (arXiv 2407.10671, section 2.2): Llama's blocks with biases on queries, keys and values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from stages.spec import language_model as lm
from stages.spec.decoder import PRE_NORMS, Decoder, Dense, Grouped, Layer
from stages.spec.released import Released, grouped, rotary


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
    RELEASED: ClassVar[Mapping[str, Released]] = {
        "Qwen2.5-0.5B": Released(grouped(24, 896, 4864, 14, 2, 151_936, "1e-6"), rotary("1_000_000")),
        "Qwen2.5-1.5B": Released(grouped(28, 1536, 8960, 12, 2, 151_936, "1e-6"), rotary("1_000_000")),
        "Qwen2.5-3B": Released(grouped(36, 2048, 11_008, 16, 2, 151_936, "1e-6"), rotary("1_000_000")),
        "Qwen2.5-7B": Released(grouped(28, 3584, 18_944, 28, 4, 152_064, "1e-6"), rotary("1_000_000")),
        "Qwen2.5-14B": Released(grouped(48, 5120, 13_824, 40, 8, 152_064, "1e-5"), rotary("1_000_000")),
        "Qwen2.5-32B": Released(grouped(64, 5120, 27_648, 40, 8, 152_064, "1e-5"), rotary("1_000_000")),
        "Qwen2.5-72B": Released(grouped(80, 8192, 29_568, 64, 8, 152_064, "1e-5"), rotary("1_000_000")),
        # Of these three, the tuned models have another epsilon than the base models.
        "Qwen2.5-14B-Instruct": Released(grouped(48, 5120, 13_824, 40, 8, 152_064, "1e-6"), rotary("1_000_000")),
        "Qwen2.5-32B-Instruct": Released(grouped(64, 5120, 27_648, 40, 8, 152_064, "1e-6"), rotary("1_000_000")),
        "Qwen2.5-72B-Instruct": Released(grouped(80, 8192, 29_568, 64, 8, 152_064, "1e-6"), rotary("1_000_000")),
    }

    def decoder(self) -> Decoder:
        """Equal layers."""
        head_dim = self.hidden // self.heads
        attention = Grouped(self.heads, self.kv_heads, head_dim, head_dim**-0.5, qkv_bias=True)
        layer = Layer(attention, Dense(self.ffn), PRE_NORMS)
        return Decoder((layer,) * self.layers, self.hidden, self.vocab, self.norm_eps, self.tied)
