"""Gemma 3, text (arXiv 2503.19786, section 2): five layers with a window to one without, QK-norm, two rotary bases."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from stages.spec import domains
from stages.spec import language_model as lm
from stages.spec.decoder import FOUR_NORMS, Decoder, Dense, Grouped, Layer, windowed


class Gemma3Model(lm.LanguageModel):
    """Gemma 3, text: Gemma 2's blocks with a norm of each head's queries and keys in place of soft caps."""

    family: Literal["gemma3"]
    layers: lm.Layers
    hidden: lm.Size
    ffn: lm.Size
    heads: lm.Size
    kv_heads: lm.Size
    head_dim: lm.Size
    query_scalar: lm.Size  # scores are divided by its square root
    window: lm.Size  # keys that a query sees, its own among them
    full_every: lm.Layers  # every n-th layer sees all keys
    local_rope_base: Annotated[float, domains.ROPE_BASE]  # of the layers with a window, which nothing scales
    vocab: lm.Vocabulary
    norm_eps: lm.NormEps
    tied: bool
    init_std: lm.InitStd

    PUBLISHED: ClassVar[lm.Published] = lm.Published(
        architecture="Gemma3ForCausalLM",
        model_type="gemma3_text",
        names={
            **lm.SHARED, **lm.HEADS, "query_scalar": "query_pre_attn_scalar", "window": "sliding_window",
            "local_rope_base": "rope_local_base_freq",
        },
        fixed={
            "hidden_activation": "gelu_pytorch_tanh", "attention_bias": False, "attention_dropout": 0.0,
            "attn_logit_softcapping": None, "final_logit_softcapping": None, "use_bidirectional_attention": False,
            "pad_token_id": None,
        },
        absent={
            "hidden_activation": "gelu_pytorch_tanh", "rms_norm_eps": 1e-6, "num_key_value_heads": 4, "head_dim": 256,
            "query_pre_attn_scalar": 256, "sliding_window": 4096, "max_position_embeddings": 131_072,
            "rope_local_base_freq": 10_000.0, "rope_theta": 1_000_000.0, "tie_word_embeddings": True,
            "initializer_range": 0.02, "attn_logit_softcapping": None, "final_logit_softcapping": None,
            "use_bidirectional_attention": False,
        },
        free=frozenset({
            "cache_implementation", "pad_token_id", "sliding_window_pattern", "_sliding_window_pattern",
        }),
        layer_types=True,
        full_every=6,
    )  # fmt: skip

    def decoder(self) -> Decoder:
        """Layers with a window and positions of their own, and those without."""
        layers = []
        for window in windowed(self.layers, self.full_every, self.window):
            attention = Grouped(
                self.heads, self.kv_heads, self.head_dim, self.query_scalar**-0.5, qk_norm="head", window=window,
                local=window is not None,
            )  # fmt: skip
            layers.append(Layer(attention, Dense(self.ffn, "gelu_tanh"), FOUR_NORMS))
        return Decoder(
            tuple(layers), self.hidden, self.vocab, self.norm_eps, self.tied, gain_offset=True,
            embedding_scale=self.hidden**0.5, local_base=self.local_rope_base,
        )  # fmt: skip

    def implied(self) -> dict[str, Any]:
        """An older name of the activation."""
        return {"hidden_act": "gelu_pytorch_tanh"}
