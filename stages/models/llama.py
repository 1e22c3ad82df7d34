"""Llama 3 (arXiv 2407.21783): pre-norm blocks of grouped-query attention and SwiGLU, rotary positions."""

from __future__ import annotations

from torch import Tensor, nn

from stages.models.attention import attend
from stages.models.common import CausalLM, RMSNorm, SwiGLU, for_products
from stages.models.documents import Documents
from stages.models.layers import Layers
from stages.models.ops import rotate
from stages.models.rotary import Rotary
from stages.spec.resolved_models import LlamaModel, OuroModel, Rope


class GroupedQueryAttention(nn.Module):
    """Attention whose key and value heads are shared by groups of query heads (arXiv 2305.13245)."""

    def __init__(self, cfg: LlamaModel | OuroModel) -> None:
        super().__init__()
        self.head_dim = cfg.head_dim
        self.q_proj = nn.Linear(cfg.hidden, cfg.heads * cfg.head_dim, bias=False)
        self.k_proj = nn.Linear(cfg.hidden, cfg.kv_heads * cfg.head_dim, bias=False)
        self.v_proj = nn.Linear(cfg.hidden, cfg.kv_heads * cfg.head_dim, bias=False)
        self.o_proj = nn.Linear(cfg.heads * cfg.head_dim, cfg.hidden, bias=False)

    def forward(self, x: Tensor, tables: tuple[Tensor, Tensor], how: Documents | None) -> Tensor:
        """Shape [B, T, H] -> [B, T, H]."""
        x = for_products(x)
        q, k, v = (proj(x).unflatten(-1, (-1, self.head_dim)) for proj in (self.q_proj, self.k_proj, self.v_proj))
        q, k = (rotate(heads, *tables, interleaved=False) for heads in (q, k))
        return self.o_proj(attend(q, k, v, how, self.head_dim**-0.5).flatten(-2))


class LlamaLayer(nn.Module):
    """x + attention(norm(x)), then x + ffn(norm(x))."""

    def __init__(self, cfg: LlamaModel) -> None:
        super().__init__()
        self.self_attn = GroupedQueryAttention(cfg)
        self.mlp = SwiGLU(cfg.hidden, cfg.ffn)
        self.input_layernorm = RMSNorm(cfg.hidden, cfg.norm_eps)
        self.post_attention_layernorm = RMSNorm(cfg.hidden, cfg.norm_eps)

    def forward(self, x: Tensor, tables: tuple[Tensor, Tensor], how: Documents | None) -> Tensor:
        """Shape [B, T, H] -> [B, T, H]."""
        x = x + self.self_attn(self.input_layernorm(x), tables, how)
        return x + self.mlp(self.post_attention_layernorm(x))


class _Stack(nn.Module):
    def __init__(self, cfg: LlamaModel) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(cfg.vocab, cfg.hidden)
        self.layers = Layers(LlamaLayer(cfg) for _ in range(cfg.layers))
        self.norm = RMSNorm(cfg.hidden, cfg.norm_eps)


class Llama(CausalLM):
    """Llama with the parameter names of transformers' LlamaForCausalLM."""

    def __init__(self, cfg: LlamaModel, rope: Rope) -> None:
        super().__init__()
        self.rotary = Rotary(rope, cfg.head_dim)
        self.model = _Stack(cfg)
        self.add_head(cfg.hidden, cfg.vocab, cfg.tied)

    def forward(
        self, tokens: Tensor, positions: Tensor, documents: Documents | None, embeddings: Tensor | None
    ) -> Tensor:
        """Final normed states [B, T, H] of tokens [B, T] (or of `embeddings` [B, T, H], which replace them)."""
        x = self.embed(tokens) if embeddings is None else embeddings
        tables = self.rotary.tables(positions)
        return self.model.norm(self.model.layers.through(x, tables, documents))
