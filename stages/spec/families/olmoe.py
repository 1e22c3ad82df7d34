"""OLMoE (arXiv 2409.02060, section 2): routed experts in every layer, and norms over all queries and all keys.

Experts are weighed by their probabilities as they are: those of the taken ones are not divided by their sum.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from stages.spec import language_model as lm
from stages.spec.decoder import PRE_NORMS, Decoder, Grouped, Layer, Mixture


class OlmoeModel(lm.LanguageModel):
    """OLMoE: pre-norms, QK-norm over all heads together, a mixture of experts in every layer."""

    family: Literal["olmoe"]
    layers: lm.Layers
    hidden: lm.Size
    ffn: lm.Size  # of each expert
    heads: lm.Size
    kv_heads: lm.Size
    experts: lm.Size
    active_experts: lm.Size
    vocab: lm.Vocabulary
    norm_eps: lm.NormEps
    tied: bool
    init_std: lm.InitStd

    ROUTED: ClassVar[bool] = True
    PUBLISHED: ClassVar[lm.Published] = lm.Published(
        architecture="OlmoeForCausalLM",
        model_type="olmoe",
        names={
            **lm.SHARED, "kv_heads": "num_key_value_heads", "experts": "num_experts",
            "active_experts": "num_experts_per_tok",
        },
        fixed={**lm.SWIGLU, "clip_qkv": None, "norm_topk_prob": False, "pad_token_id": None},
        absent={
            "hidden_act": "silu", "rms_norm_eps": 1e-5, "clip_qkv": None, "norm_topk_prob": False, "num_experts": 64,
            "num_experts_per_tok": 8, "max_position_embeddings": 4096, "initializer_range": 0.02,
        },
        aliases={"num_local_experts": "num_experts"},
        free=frozenset({"output_router_logits", "router_aux_loss_coef", "pad_token_id"}),
    )  # fmt: skip

    def decoder(self) -> Decoder:
        """Equal layers."""
        head_dim = self.hidden // self.heads
        attention = Grouped(self.heads, self.kv_heads, head_dim, head_dim**-0.5, qk_norm="whole")
        mixture = Mixture(self.experts, self.active_experts, self.ffn, 0, "softmax", False, 1.0)
        layer = Layer(attention, mixture, PRE_NORMS)
        return Decoder((layer,) * self.layers, self.hidden, self.vocab, self.norm_eps, self.tied)
