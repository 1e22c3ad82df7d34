"""Moonlight (arXiv 2502.16982): the DeepSeek-V3 architecture with plain query projections.

Multi-head latent attention (MLA, arXiv 2405.04434, section 2.1): keys and values are made from one narrow latent, and
positions ride on a separate rotary part whose key all heads share.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stages.models.attention import attend
from stages.models.common import CausalLM, RMSNorm, SwiGLU, for_products
from stages.models.documents import Documents
from stages.models.layers import Layers
from stages.models.moe import MixtureOfExperts, Router, balanced
from stages.models.ops import rotate
from stages.models.rotary import Rotary
from stages.spec.resolved_models import MoonlightModel, Rope

LATENT_NORM_EPS = 1e-6  # the released code leaves the latent's norm at its class's default, whatever rms_norm_eps says


class LatentAttention(nn.Module):
    """MLA without a query latent; rotary pairs are interleaved, as in DeepSeek-V3."""

    def __init__(self, cfg: MoonlightModel) -> None:
        super().__init__()
        self.heads, self.nope, self.rotary_dim, self.value = cfg.heads, cfg.qk_nope_dim, cfg.qk_rope_dim, cfg.v_head_dim
        self.latent = cfg.kv_lora_rank
        self.q_proj = nn.Linear(cfg.hidden, cfg.heads * (self.nope + self.rotary_dim), bias=False)
        self.kv_a_proj_with_mqa = nn.Linear(cfg.hidden, self.latent + self.rotary_dim, bias=False)
        self.kv_a_layernorm = RMSNorm(self.latent, LATENT_NORM_EPS)
        self.kv_b_proj = nn.Linear(self.latent, cfg.heads * (self.nope + self.value), bias=False)
        self.o_proj = nn.Linear(cfg.heads * self.value, cfg.hidden, bias=False)

    def forward(self, x: Tensor, tables: tuple[Tensor, Tensor], how: Documents | None) -> Tensor:
        """Shape [B, T, H] -> [B, T, H]."""
        x = for_products(x)
        q_nope, q_rotary = self.q_proj(x).unflatten(-1, (self.heads, -1)).split([self.nope, self.rotary_dim], dim=-1)
        latent, k_rotary = self.kv_a_proj_with_mqa(x).split([self.latent, self.rotary_dim], dim=-1)
        k_nope, v = (
            self.kv_b_proj(self.kv_a_layernorm(latent))
            .unflatten(-1, (self.heads, -1))
            .split([self.nope, self.value], dim=-1)
        )
        q_rotary = rotate(q_rotary, *tables, interleaved=True)
        k_rotary = rotate(k_rotary[:, :, None], *tables, interleaved=True).expand(-1, -1, self.heads, -1)
        q, k = torch.cat((q_nope, q_rotary), dim=-1), torch.cat((k_nope, k_rotary), dim=-1)
        return self.o_proj(attend(q, k, v, how, (self.nope + self.rotary_dim) ** -0.5).flatten(-2))


class MoonlightLayer(nn.Module):
    """Pre-norm block; the feed-forward part is dense in the first layers and a mixture of experts in the others."""

    def __init__(self, cfg: MoonlightModel, layer: int) -> None:
        super().__init__()
        self.self_attn = LatentAttention(cfg)
        self.mlp = SwiGLU(cfg.hidden, cfg.ffn) if layer < cfg.dense_layers else MixtureOfExperts(cfg)
        self.input_layernorm = RMSNorm(cfg.hidden, cfg.norm_eps)
        self.post_attention_layernorm = RMSNorm(cfg.hidden, cfg.norm_eps)

    def forward(self, x: Tensor, tables: tuple[Tensor, Tensor], how: Documents | None, real: Tensor | None) -> Tensor:
        """Shape [B, T, H] -> [B, T, H]."""
        x = x + self.self_attn(self.input_layernorm(x), tables, how)
        normed = self.post_attention_layernorm(x)
        return x + (self.mlp(normed) if isinstance(self.mlp, SwiGLU) else self.mlp(normed, real))


class _Stack(nn.Module):
    def __init__(self, cfg: MoonlightModel) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(cfg.vocab, cfg.hidden)
        self.layers = Layers(MoonlightLayer(cfg, layer) for layer in range(cfg.layers))
        self.norm = RMSNorm(cfg.hidden, cfg.norm_eps)


class Moonlight(CausalLM):
    """Moonlight with the parameter names of transformers' DeepseekV3ForCausalLM, but experts stacked.

    `model.layers.N.mlp.experts.{gate,up,down}_proj` hold all experts of a layer, [E, out, in]; `models.hf` splits them
    into transformers' one tensor per expert.
    """

    def __init__(self, cfg: MoonlightModel, rope: Rope) -> None:
        super().__init__()
        self.rotary = Rotary(rope, cfg.qk_rope_dim)
        self.model = _Stack(cfg)
        self.add_head(cfg.hidden, cfg.vocab, cfg.tied)

    def forward(
        self, tokens: Tensor, positions: Tensor, documents: Documents | None, embeddings: Tensor | None
    ) -> Tensor:
        """Final normed states [B, T, H] of tokens [B, T] (or of `embeddings` [B, T, H], which replace them)."""
        x = self.embed(tokens) if embeddings is None else embeddings
        tables = self.rotary.tables(positions)
        real = None if documents is None else documents.tokens
        return self.model.norm(self.model.layers.through(x, tables, documents, real))

    def routers(self) -> list[Router]:
        """The routers of the layers that have experts, in order."""
        return [module for module in self.modules() if isinstance(module, Router)]

    def aux_loss(self) -> Tensor:
        """Balance loss of the last training forward, summed over layers, unweighted (weigh by the spec's aux_loss)."""
        losses = [router.aux_loss for router in self.routers() if router.aux_loss is not None]
        if not losses:
            raise ValueError("no training forward has been run: there is no auxiliary loss yet")
        return torch.stack(losses).sum()

    def router_counts(self) -> Tensor:
        """Tokens sent to each expert by training forwards since the last reset: int64 [layers with experts, E]."""
        return torch.stack([router.counts for router in self.routers()])

    def reset_router_counts(self) -> None:
        """Start counting anew, as at the beginning of a step."""
        for router in self.routers():
            router.counts.zero_()

    @torch.no_grad()
    def update_router_bias(self, counts: Tensor, u: float) -> None:
        """Move every layer's bias by the balancing rule; counts int64 [layers with experts, E] of the whole step."""
        for router, load in zip(self.routers(), counts, strict=True):
            router.e_score_correction_bias.copy_(balanced(router.e_score_correction_bias, load, u))


def active_parameters(cfg: MoonlightModel) -> int:
    """Parameters that one token passes through, without embedding and head (2.24B for Moonlight-16B-A3B).

    Router and norms count; of the routed experts only the active ones do.
    """
    attention = cfg.hidden * cfg.heads * (cfg.qk_nope_dim + cfg.qk_rope_dim)
    attention += cfg.hidden * (cfg.kv_lora_rank + cfg.qk_rope_dim) + cfg.kv_lora_rank
    attention += cfg.kv_lora_rank * cfg.heads * (cfg.qk_nope_dim + cfg.v_head_dim)
    attention += cfg.heads * cfg.v_head_dim * cfg.hidden
    dense = 3 * cfg.hidden * cfg.ffn
    mixture = 3 * cfg.hidden * cfg.expert_ffn * (cfg.active_experts + cfg.shared_experts) + cfg.experts * cfg.hidden
    feed_forward = cfg.dense_layers * dense + (cfg.layers - cfg.dense_layers) * mixture
    return cfg.layers * (attention + 2 * cfg.hidden) + feed_forward + cfg.hidden
