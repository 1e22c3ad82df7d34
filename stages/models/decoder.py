"""A language model of any family, made of what its declaration says (stages/spec/families).

Parameter names are those of transformers' class of the family, but routed experts are stacked: `mlp.experts`'s
{gate,up,down}_proj contain all experts of a layer, [E, out, in]; `models.hf` splits them into one tensor per expert.

Shapes: B rows, T positions (n of all B * T are no padding), D the model's width, E experts.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stages.models.common import CausalLM, RMSNorm, SwiGLU
from stages.models.documents import Documents
from stages.models.grouped_query_attention import GroupedQueryAttention
from stages.models.latent_attention import LatentAttention
from stages.models.layers import Layers
from stages.models.moe import MixtureOfExperts, Router, SoftmaxRouter, balanced
from stages.models.rotary import Rotary, Tables
from stages.spec.decoder import Decoder, Dense, Latent, Layer
from stages.spec.language_model import LanguageModel
from stages.spec.resolved_models import Rope


class DecoderLayer(nn.Module):
    """x + attention, then x + feed-forward part, with norms before them, behind them, or both."""

    def __init__(self, model: Decoder, layer: Layer) -> None:
        super().__init__()
        latent = isinstance(layer.attention, Latent)
        self.self_attn = (LatentAttention if latent else GroupedQueryAttention)(model, layer.attention)  # type: ignore[arg-type]
        dense = isinstance(layer.feed_forward, Dense)
        self.mlp = (SwiGLU if dense else MixtureOfExperts)(model.hidden, layer.feed_forward)  # type: ignore[arg-type]
        self._norms = layer.norms
        for name in layer.norms:
            self.add_module(name, RMSNorm(model.hidden, model.eps, model.gain_offset))

    def forward(self, x_BTD: Tensor, tables: Tables, how: Documents | None, real_n: Tensor | None) -> Tensor:
        """Shape [B, T, D] -> [B, T, D]; `real_n`, int64, names the positions of B * T that are no padding."""
        norms = self._norms
        out_BTD = self.self_attn(self._normed(norms.before_attention, x_BTD), tables, how)
        x_BTD = x_BTD + self._normed(norms.after_attention, out_BTD)
        normed_BTD = self._normed(norms.before_feed_forward, x_BTD)
        out_BTD = self.mlp(normed_BTD) if isinstance(self.mlp, SwiGLU) else self.mlp(normed_BTD, real_n)
        return x_BTD + self._normed(norms.after_feed_forward, out_BTD)

    def _normed(self, name: str | None, x: Tensor) -> Tensor:
        return x if name is None else self.get_submodule(name)(x)


class Stack(nn.Module):
    """Embedding, layers, final norm, and a looped model's exit gate."""

    def __init__(self, model: Decoder) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(model.vocab, model.hidden)
        self.layers = Layers(DecoderLayer(model, layer) for layer in model.layers)
        self.norm = RMSNorm(model.hidden, model.eps, model.gain_offset)
        if model.looped:
            self.early_exit_gate = nn.Linear(model.hidden, 1)


def local_rope(model: Decoder, rope: Rope) -> Rope | None:
    """The positions of layers whose attention is local: a base of their own, or the stage's, and no scaling."""
    if model.local_base is None:
        return None
    base = rope.base if model.local_base == "unscaled" else model.local_base
    return Rope(base=base, llama3=None, interpolation=1.0)


class DecoderLM(CausalLM):
    """A causal language model whose layers are run once."""

    def __init__(self, cfg: LanguageModel, rope: Rope) -> None:
        super().__init__()
        parts = cfg.parts
        self._parts = parts
        self.turn_by(rope)
        self.model = Stack(parts)
        self.add_ends(parts)

    def turn_by(self, rope: Rope) -> None:
        """Take these rotary positions, and what follows from them for layers whose attention is local."""
        self.rotary = Rotary(rope, self._parts.rotated)
        local = local_rope(self._parts, rope)
        self.local_rotary = None if local is None else Rotary(local, self._parts.rotated)

    def forward(
        self, tokens: Tensor, positions: Tensor, documents: Documents | None, embeddings: Tensor | None
    ) -> Tensor:
        """Final normed states [B, T, D] of tokens [B, T] (or of `embeddings` [B, T, D], which replace them)."""
        x_BTD = self.embed(tokens) if embeddings is None else embeddings
        return self.through(x_BTD, self.tables(positions), documents)

    def tables(self, positions: Tensor) -> Tables:
        """Rotary tables of positions int64 [B, T], for all layers."""
        local = None if self.local_rotary is None else self.local_rotary.tables(positions)
        return Tables(self.rotary.tables(positions), local, self.rotary.score_factor)

    def through(self, x_BTD: Tensor, tables: Tables, documents: Documents | None) -> Tensor:
        """Normed states [B, T, D] of the stream [B, T, D] behind all layers."""
        real_n = None if documents is None else documents.tokens
        return self.model.norm(self.model.layers.through(x_BTD, tables, documents, real_n))

    def routers(self) -> list[Router | SoftmaxRouter]:
        """The routers of the layers that have experts, in order."""
        return [module for module in self.modules() if isinstance(module, (Router, SoftmaxRouter))]

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
        """Start counting again, as at the beginning of a step."""
        for router in self.routers():
            router.counts.zero_()

    @torch.no_grad()
    def update_router_bias(self, counts: Tensor, u: float) -> None:
        """Move every layer's bias by the balancing rule; counts int64 [layers with experts, E] of the whole step."""
        for router, load in zip(self.routers(), counts, strict=True):
            if not isinstance(router, Router):
                raise ValueError("a softmax router has no bias to move")
            router.e_score_correction_bias.copy_(balanced(router.e_score_correction_bias, load, u))


class LoopedLM(DecoderLM):
    """All layers run several times (Ouro, arXiv 2510.25741): the final norm ends each loop, and feeds the next."""

    def forward(  # type: ignore[override]
        self, tokens: Tensor, positions: Tensor, documents: Documents | None, embeddings: Tensor | None, loops: int
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Normed states [B, T, D] after each loop, and the gate's logits [B, T] on each of them; `loops` of both."""
        x_BTD = self.embed(tokens) if embeddings is None else embeddings
        tables = self.tables(positions)
        hidden, gates = [], []
        for _ in range(loops):
            x_BTD = self.through(x_BTD, tables, documents)
            hidden.append(x_BTD)
            gates.append(self.model.early_exit_gate(x_BTD).squeeze(-1))
        return hidden, gates


def language_model(cfg: LanguageModel, rope: Rope) -> DecoderLM:
    """The model of a family, with undefined weights."""
    return (LoopedLM if cfg.LOOPED else DecoderLM)(cfg, rope)
