"""Qwen3, mixture of experts (arXiv 2505.09388, section 2): Qwen3's attention, and routed experts in every layer.

The router weighs by probability, the taken experts' divided by their sum; there are no shared experts and no biases.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from stages.spec import language_model as lm
from stages.spec.decoder import PRE_NORMS, Decoder, Grouped, Layer, Mixture
from stages.spec.released import Released, grouped, rotary


class Qwen3MoeModel(lm.LanguageModel):
    """Qwen3, mixture of experts: every layer is routed."""

    family: Literal["qwen3_moe"]
    layers: lm.Layers
    hidden: lm.Size
    ffn: lm.Size  # of dense layers, of which there are none: config.json states it all the same
    heads: lm.Size
    kv_heads: lm.Size
    head_dim: lm.Size
    experts: lm.Size
    active_experts: lm.Size
    expert_ffn: lm.Size
    vocab: lm.Vocabulary
    norm_eps: lm.NormEps
    tied: bool
    init_std: lm.InitStd

    ROUTED: ClassVar[bool] = True
    PUBLISHED: ClassVar[lm.Published] = lm.Published(
        architecture="Qwen3MoeForCausalLM",
        model_type="qwen3_moe",
        names={
            **lm.SHARED, **lm.HEADS, "experts": "num_experts", "active_experts": "num_experts_per_tok",
            "expert_ffn": "moe_intermediate_size",
        },
        fixed={
            **lm.SWIGLU, "use_sliding_window": False, "sliding_window": None, "decoder_sparse_step": 1,
            "mlp_only_layers": [], "norm_topk_prob": True,
        },
        absent={
            "hidden_act": "silu", "rms_norm_eps": 1e-6, "num_key_value_heads": 4, "max_position_embeddings": 32_768,
            "initializer_range": 0.02, "decoder_sparse_step": 1, "mlp_only_layers": [], "norm_topk_prob": False,
            "moe_intermediate_size": 768, "num_experts_per_tok": 8, "num_experts": 128,
        },
        aliases={"num_local_experts": "num_experts"},  # transformers 5.12
        free=frozenset({"sliding_window", "output_router_logits", "router_aux_loss_coef"}),
    )  # fmt: skip
    RELEASED: ClassVar[Mapping[str, Released]] = {
        "Qwen3-30B-A3B": Released(
            {**grouped(48, 2048, 6144, 32, 4, 151_936, "1e-6", 128), "experts": "128", "active_experts": "8",
             "expert_ffn": "768"},
            rotary("1_000_000"),
        ),
    }  # fmt: skip

    def decoder(self) -> Decoder:
        """Equal layers."""
        attention = Grouped(self.heads, self.kv_heads, self.head_dim, self.head_dim**-0.5, qk_norm="head")
        mixture = Mixture(self.experts, self.active_experts, self.expert_ffn, 0, "softmax", True, 1.0)
        layer = Layer(attention, mixture, PRE_NORMS)
        return Decoder((layer,) * self.layers, self.hidden, self.vocab, self.norm_eps, self.tied)
