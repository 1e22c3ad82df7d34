"""Moonlight (arXiv 2502.16982): the DeepSeek-V3 architecture with plain query projections.

Multi-head latent attention (MLA, arXiv 2405.04434, section 2.1): keys and values are made from one narrow latent, and
positions ride on a separate rotary part whose key all heads share. The feed-forward part is dense in the first layers
and a mixture of experts in the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from stages.spec import domains
from stages.spec import language_model as lm
from stages.spec.decoder import PRE_NORMS, Decoder, Dense, Latent, Layer, Mixture
from stages.spec.released import Released, rotary

LATENT_NORM_EPS = 1e-6  # the released code leaves the latent's norm at its class's default, whatever rms_norm_eps says

SIZES = {
    "layers": "27", "dense_layers": "1", "hidden": "2048", "ffn": "11_264", "heads": "16", "vocab": "163_840",
    "kv_lora_rank": "512", "qk_nope_dim": "128", "qk_rope_dim": "64", "v_head_dim": "128", "experts": "64",
    "active_experts": "6", "shared_experts": "2", "expert_ffn": "1408", "routed_scale": "2.446", "norm_eps": "1e-5",
}  # fmt: skip


class MoonlightModel(lm.LanguageModel):
    """Moonlight (DeepSeek-V3 architecture): MLA, shared + routed experts, sigmoid router with bias balancing."""

    family: Literal["moonlight"]
    layers: lm.Layers
    dense_layers: lm.SizeOrNone  # the first layers whose FFN is dense
    hidden: lm.Size
    ffn: lm.Size
    heads: lm.Size
    vocab: lm.Vocabulary
    kv_lora_rank: lm.Size
    qk_nope_dim: lm.Size
    qk_rope_dim: lm.Size
    v_head_dim: lm.Size
    experts: lm.Size
    active_experts: lm.Size
    shared_experts: lm.SizeOrNone
    expert_ffn: lm.Size
    routed_scale: Annotated[float, domains.ROUTED_SCALE]
    norm_eps: lm.NormEps
    tied: bool
    init_std: lm.InitStd

    NEMO: ClassVar[bool] = True
    ROUTED: ClassVar[bool] = True
    PUBLISHED: ClassVar[lm.Published] = lm.Published(
        architecture="DeepseekV3ForCausalLM",
        model_type="deepseek_v3",
        names={
            **lm.SHARED,
            "dense_layers": "first_k_dense_replace", "kv_lora_rank": "kv_lora_rank", "qk_nope_dim": "qk_nope_head_dim",
            "qk_rope_dim": "qk_rope_head_dim", "v_head_dim": "v_head_dim", "experts": "n_routed_experts",
            "active_experts": "num_experts_per_tok", "shared_experts": "n_shared_experts",
            "expert_ffn": "moe_intermediate_size", "routed_scale": "routed_scaling_factor",
        },
        fixed={
            **lm.SWIGLU, "moe_layer_freq": 1, "norm_topk_prob": True, "scoring_func": "sigmoid",
            "topk_method": "noaux_tc", "n_group": 1, "topk_group": 1, "q_lora_rank": None, "rope_interleave": True,
        },
        absent={
            "hidden_act": "silu", "moe_layer_freq": 1, "rope_interleave": True, "norm_topk_prob": True,
            "scoring_func": "sigmoid", "topk_method": "noaux_tc",
        },
        # Layers that predict further tokens: transformers 5.17 writes 1 for models without any. Their tensors are
        # refused by name.
        free=frozenset({"num_nextn_predict_layers"}),
    )  # fmt: skip
    RELEASED: ClassVar[Mapping[str, Released]] = {
        "Moonlight-16B-A3B": Released(SIZES, rotary("50_000")),
        "Kimi-VL-A3B": Released(SIZES, rotary("800_000")),
    }

    def decoder(self) -> Decoder:
        """Dense layers first."""
        attention = Latent(
            self.heads, self.kv_lora_rank, self.qk_nope_dim, self.qk_rope_dim, self.v_head_dim, LATENT_NORM_EPS
        )
        mixture = Mixture(
            self.experts, self.active_experts, self.expert_ffn, self.shared_experts, "sigmoid", True, self.routed_scale
        )
        dense, sparse = Layer(attention, Dense(self.ffn), PRE_NORMS), Layer(attention, mixture, PRE_NORMS)
        first = min(self.dense_layers, self.layers)
        layers = (dense,) * first + (sparse,) * (self.layers - first)
        return Decoder(layers, self.hidden, self.vocab, self.norm_eps, self.tied)

    def indivisible(self) -> str | None:
        """Also more dense layers than there are layers."""
        if self.dense_layers > self.layers:
            return f"{self.dense_layers} dense layers of {self.layers}"
        return super().indivisible()

    def derived(self) -> dict[str, Any]:
        """As many heads of keys as of queries."""
        return {"num_key_value_heads": self.heads}

    def implied(self) -> dict[str, Any]:
        """Widths that transformers derives of the others."""
        return {"head_dim": self.qk_rope_dim, "qk_head_dim": self.qk_nope_dim + self.qk_rope_dim}
