"""Gemma 2 (arXiv 2408.00118, section 2): four norms a layer, a window in every second, capped scores and logits."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from stages.spec import language_model as lm
from stages.spec.decoder import FOUR_NORMS, Decoder, Dense, Grouped, Layer, windowed


class Gemma2Model(lm.LanguageModel):
    """Gemma 2: norms of gain 1 + w before and behind sub-layers, GeGLU, scaled embeddings, soft caps, windows."""

    family: Literal["gemma2"]
    layers: lm.Layers
    hidden: lm.Size
    ffn: lm.Size
    heads: lm.Size
    kv_heads: lm.Size
    head_dim: lm.Size
    query_scalar: lm.Size  # scores are divided by its square root
    window: lm.Size  # keys that a query sees, its own among them
    full_every: lm.Layers  # every n-th layer sees all keys
    score_softcap: lm.Softcap
    logit_softcap: lm.Softcap
    vocab: lm.Vocabulary
    norm_eps: lm.NormEps
    tied: bool
    init_std: lm.InitStd

    PUBLISHED: ClassVar[lm.Published] = lm.Published(
        architecture="Gemma2ForCausalLM",
        model_type="gemma2",
        names={
            **lm.SHARED, **lm.HEADS, "query_scalar": "query_pre_attn_scalar", "window": "sliding_window",
            "score_softcap": "attn_logit_softcapping", "logit_softcap": "final_logit_softcapping",
        },
        fixed={
            "hidden_activation": "gelu_pytorch_tanh", "attention_bias": False, "attention_dropout": 0.0,
            "pad_token_id": None,
        },
        absent={
            "hidden_activation": "gelu_pytorch_tanh", "rms_norm_eps": 1e-6, "num_key_value_heads": 4, "head_dim": 256,
            "query_pre_attn_scalar": 256, "sliding_window": 4096, "attn_logit_softcapping": 50.0,
            "final_logit_softcapping": 30.0, "max_position_embeddings": 8192, "tie_word_embeddings": True,
            "initializer_range": 0.02,
        },
        free=frozenset({"cache_implementation", "pad_token_id", "sliding_window_size"}),
        layer_types=True,
        full_every=2,
    )  # fmt: skip

    def decoder(self) -> Decoder:
        """Layers with a window, and those without."""
        layers = []
        for window in windowed(self.layers, self.full_every, self.window):
            attention = Grouped(
                self.heads, self.kv_heads, self.head_dim, self.query_scalar**-0.5, softcap=self.score_softcap,
                window=window,
            )  # fmt: skip
            layers.append(Layer(attention, Dense(self.ffn, "gelu_tanh"), FOUR_NORMS))
        return Decoder(
            tuple(layers), self.hidden, self.vocab, self.norm_eps, self.tied, gain_offset=True,
            embedding_scale=self.hidden**0.5, softcap=self.logit_softcap,
        )  # fmt: skip

    def implied(self) -> dict[str, Any]:
        """An older name of the activation, and what text is never read with."""
        return {"hidden_act": "gelu_pytorch_tanh", "use_bidirectional_attention": False}
