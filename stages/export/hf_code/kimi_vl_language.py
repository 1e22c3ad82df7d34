"""Kimi-VL's language model: DeepSeek-V3 (arXiv 2412.19437) without a query latent, under the published names."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .stages_blocks import RMSNorm, SwiGLU, attend, factors, rotate

LATENT_NORM_EPS = 1e-6  # of the latent's norm, whatever rms_norm_eps says


class LatentAttention(nn.Module):
    """Multi-head latent attention (arXiv 2405.04434, section 2.1); rotary pairs are neighbours."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.heads, self.nope, self.turned = (
            config.num_attention_heads,
            config.qk_nope_head_dim,
            config.qk_rope_head_dim,
        )
        self.scale = (self.nope + self.turned) ** -0.5 * factors(config)[1]
        self.value, self.latent = config.v_head_dim, config.kv_lora_rank
        self.q_proj = nn.Linear(config.hidden_size, self.heads * (self.nope + self.turned), bias=False)
        self.kv_a_proj_with_mqa = nn.Linear(config.hidden_size, self.latent + self.turned, bias=False)
        self.kv_a_layernorm = RMSNorm(self.latent, LATENT_NORM_EPS)
        self.kv_b_proj = nn.Linear(self.latent, self.heads * (self.nope + self.value), bias=False)
        self.o_proj = nn.Linear(self.heads * self.value, config.hidden_size, bias=False)

    def forward(self, x: Tensor, turns: tuple[Tensor, Tensor], seen: Tensor, past: Any, layer: int) -> Tensor:
        """Shape [B, T, H] -> [B, T, H]."""
        q_nope, q_turned = self.q_proj(x).unflatten(-1, (self.heads, -1)).split([self.nope, self.turned], dim=-1)
        latent, k_turned = self.kv_a_proj_with_mqa(x).split([self.latent, self.turned], dim=-1)
        both = self.kv_b_proj(self.kv_a_layernorm(latent)).unflatten(-1, (self.heads, -1))
        k_nope, v = both.split([self.nope, self.value], dim=-1)
        q_turned = rotate(q_turned, *turns, interleaved=True)
        k_turned = rotate(k_turned[:, :, None], *turns, interleaved=True).expand(-1, -1, self.heads, -1)
        q, k = torch.cat((q_nope, q_turned), dim=-1), torch.cat((k_nope, k_turned), dim=-1)
        return self.o_proj(attend(q, k, v, seen, past, layer, self.scale))


class Router(nn.Module):
    """Scores by sigmoid, chooses by score and bias, weighs by the scores alone (arXiv 2412.19437, section 2.1.2)."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.active, self.scale = config.num_experts_per_tok, config.routed_scaling_factor
        self.weight = nn.Parameter(torch.empty(config.n_routed_experts, config.hidden_size))
        self.e_score_correction_bias = nn.Parameter(torch.zeros(config.n_routed_experts), requires_grad=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Experts int64 [N, k] and weights fp32 [N, k] of tokens [N, H]."""
        scores = F.linear(x.float(), self.weight.float()).sigmoid()
        chosen = (scores + self.e_score_correction_bias.float()).topk(self.active, dim=-1).indices
        weights = scores.gather(-1, chosen)
        return chosen, weights / (weights.sum(dim=-1, keepdim=True) + 1e-20) * self.scale


class MixtureOfExperts(nn.Module):
    """Shared experts, one wide SwiGLU, and the routed ones."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        hidden, ffn = config.hidden_size, config.moe_intermediate_size
        self.gate = Router(config)
        self.experts = nn.ModuleList(SwiGLU(hidden, ffn) for _ in range(config.n_routed_experts))
        self.shared_experts = SwiGLU(hidden, ffn * config.n_shared_experts)

    def forward(self, x: Tensor) -> Tensor:
        """Shape [B, T, H] -> [B, T, H]."""
        flat = x.flatten(0, -2)
        chosen, weights = self.gate(flat)
        out = torch.zeros_like(flat)
        for number in chosen.unique().tolist():
            tokens, place = (chosen == number).nonzero(as_tuple=True)
            share = weights[tokens, place, None].to(flat.dtype)
            out.index_add_(0, tokens, self.experts[number](flat[tokens]) * share)
        return out.view(x.shape) + self.shared_experts(x)


class Layer(nn.Module):
    """Pre-norm block; the feed-forward part is dense in the first layers and a mixture of experts in the others."""

    def __init__(self, config: Any, number: int) -> None:
        super().__init__()
        dense = number < config.first_k_dense_replace
        self.self_attn = LatentAttention(config)
        self.mlp = SwiGLU(config.hidden_size, config.intermediate_size) if dense else MixtureOfExperts(config)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x: Tensor, turns: tuple[Tensor, Tensor], seen: Tensor, past: Any, layer: int) -> Tensor:
        """Shape [B, T, H] -> [B, T, H]."""
        x = x + self.self_attn(self.input_layernorm(x), turns, seen, past, layer)
        return x + self.mlp(self.post_attention_layernorm(x))


class Stack(nn.Module):
    """Embedding, layers, norm."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config, number) for number in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x: Tensor, turns: tuple[Tensor, Tensor], seen: Tensor, past: Any) -> Tensor:
        """Final normed states [B, T, H] of embeddings [B, T, H]."""
        for number, layer in enumerate(self.layers):
            x = layer(x, turns, seen, past, number)
        return self.norm(x)


class LanguageModel(nn.Module):
    """The stack and its head, named as a DeepseekV3ForCausalLM."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.model = Stack(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
