"""Llama 3 (arXiv 2407.21783): pre-norm blocks of grouped-query attention and SwiGLU, rotary positions."""

from __future__ import annotations

from typing import ClassVar, Literal

from stages.spec import language_model as lm
from stages.spec.decoder import PRE_NORMS, Decoder, Dense, Grouped, Layer


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

    def decoder(self) -> Decoder:
        """Equal layers."""
        attention = Grouped(self.heads, self.kv_heads, self.head_dim, self.head_dim**-0.5)
        layer = Layer(attention, Dense(self.ffn), PRE_NORMS)
        return Decoder((layer,) * self.layers, self.hidden, self.vocab, self.norm_eps, self.tied)
