"""Llama 3 (arXiv 2407.21783): pre-norm blocks of grouped-query attention and SwiGLU, rotary positions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from stages.spec import language_model as lm
from stages.spec.decoder import PRE_NORMS, Decoder, Dense, Grouped, Layer
from stages.spec.released import Figures, Released, grouped, rotary


def _scaled(factor: int) -> Figures:
    """Rotary positions of Llama 3.1 and 3.2."""
    scaling = {"llama3.factor": str(factor), "llama3.low": "1", "llama3.high": "4", "llama3.original": "8Ki"}
    return {**rotary("500_000"), **scaling}


class LlamaModel(lm.LanguageModel):
    """Llama 3: RMSNorm, SwiGLU, grouped-query attention, rotary positions."""

    family: Literal["llama"]
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

    NEMO: ClassVar[bool] = True
    PUBLISHED: ClassVar[lm.Published] = lm.Published(
        architecture="LlamaForCausalLM",
        model_type="llama",
        names=lm.SHARED | lm.HEADS,
        fixed={**lm.SWIGLU, "mlp_bias": False},
        absent={"hidden_act": "silu", "rms_norm_eps": 1e-6, "mlp_bias": False, "max_position_embeddings": 2048},
    )
    RELEASED: ClassVar[Mapping[str, Released]] = {
        "Llama-3.1-8B": Released(grouped(32, 4096, 14_336, 32, 8, 128_256, "1e-5"), _scaled(8)),
        "Llama-3.1-70B": Released(grouped(80, 8192, 28_672, 64, 8, 128_256, "1e-5"), _scaled(8)),
        "Llama-3.2-1B": Released(grouped(16, 2048, 8192, 32, 8, 128_256, "1e-5"), _scaled(32)),
        "Llama-3.2-3B": Released(grouped(28, 3072, 8192, 24, 8, 128_256, "1e-5"), _scaled(32)),
        "SmolLM2-135M": Released(grouped(30, 576, 1536, 9, 3, 49_152, "1e-5"), rotary("100_000")),
        "SmolLM2-360M": Released(grouped(32, 960, 2560, 15, 5, 49_152, "1e-5"), rotary("100_000")),
        "SmolLM2-1.7B": Released(grouped(24, 2048, 8192, 32, 32, 49_152, "1e-5"), rotary("130_000")),
    }

    def decoder(self) -> Decoder:
        """Equal layers."""
        attention = Grouped(self.heads, self.kv_heads, self.head_dim, self.head_dim**-0.5)
        layer = Layer(attention, Dense(self.ffn), PRE_NORMS)
        return Decoder((layer,) * self.layers, self.hidden, self.vocab, self.norm_eps, self.tied)
