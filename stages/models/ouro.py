"""Ouro (LoopLM, arXiv 2510.25741): one stack of layers run T times, with an exit gate after every loop.

The layers have four norms each (before and after both sub-layers, the second one before the residual sum). A final
norm shared by all loops ends each of them; its output feeds the head, the gate and the next loop.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.models.common import CausalLM, RMSNorm, SwiGLU
from stages.models.documents import Documents
from stages.models.layers import Layers
from stages.models.llama import GroupedQueryAttention
from stages.models.rotary import Rotary
from stages.spec.resolved_models import OuroModel, Rope


class OuroLayer(nn.Module):
    """x + norm(attention(norm(x))), then x + norm(ffn(norm(x))); names as in the released code."""

    def __init__(self, cfg: OuroModel) -> None:
        super().__init__()
        self.self_attn = GroupedQueryAttention(cfg)
        self.mlp = SwiGLU(cfg.hidden, cfg.ffn)
        self.input_layernorm = RMSNorm(cfg.hidden, cfg.norm_eps)
        self.input_layernorm_2 = RMSNorm(cfg.hidden, cfg.norm_eps)
        self.post_attention_layernorm = RMSNorm(cfg.hidden, cfg.norm_eps)
        self.post_attention_layernorm_2 = RMSNorm(cfg.hidden, cfg.norm_eps)

    def forward(self, x: Tensor, tables: tuple[Tensor, Tensor], how: Documents | None) -> Tensor:
        """Shape [B, T, H] -> [B, T, H]."""
        x = x + self.input_layernorm_2(self.self_attn(self.input_layernorm(x), tables, how))
        return x + self.post_attention_layernorm_2(self.mlp(self.post_attention_layernorm(x)))


class _Stack(nn.Module):
    def __init__(self, cfg: OuroModel) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(cfg.vocab, cfg.hidden)
        self.layers = Layers(OuroLayer(cfg) for _ in range(cfg.layers))
        self.norm = RMSNorm(cfg.hidden, cfg.norm_eps)
        self.early_exit_gate = nn.Linear(cfg.hidden, 1)


class Ouro(CausalLM):
    """Ouro with the parameter names of the released modeling_ouro.py."""

    def __init__(self, cfg: OuroModel, rope: Rope) -> None:
        super().__init__()
        self.rotary = Rotary(rope, cfg.head_dim)
        self.model = _Stack(cfg)
        self.add_head(cfg.hidden, cfg.vocab, cfg.tied)

    def forward(
        self, tokens: Tensor, positions: Tensor, documents: Documents | None, embeddings: Tensor | None, loops: int
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Normed states [B, T, H] after each loop, and the gate's logits [B, T] on each of them; `loops` of both."""
        x = self.embed(tokens) if embeddings is None else embeddings
        tables = self.rotary.tables(positions)
        hidden, gates = [], []
        for _ in range(loops):
            x = self.model.norm(self.model.layers.through(x, tables, documents))
            hidden.append(x)
            gates.append(self.model.early_exit_gate(x).squeeze(-1))
        return hidden, gates


def log_exit_distribution(gates: list[Tensor]) -> Tensor:
    """log p [loops, ...] of leaving after each loop, from gate logits [...] (arXiv 2510.25741, section 3.2).

    p_t = sigmoid(g_t) * prod over j < t of (1 - sigmoid(g_j)); the last loop takes what remains, whatever its gate
    says. In logarithms, so that a saturated gate gives no log 0 in the entropy.
    """
    stayed = torch.zeros_like(gates[0])
    steps = []
    for gate in gates[:-1]:
        steps.append(stayed + F.logsigmoid(gate))
        stayed = stayed + F.logsigmoid(-gate)
    return torch.stack([*steps, stayed])


def exit_distribution(gates: list[Tensor]) -> Tensor:
    """Probability [loops, ...] of leaving after each loop; sums to 1 over the loops."""
    return log_exit_distribution(gates).exp()
