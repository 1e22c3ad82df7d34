"""Parts that every language model shares. Parameter names are those of transformers."""

from __future__ import annotations

from typing import Any, assert_never

import torch
from torch import Tensor, nn

from stages.models.ops import capped, gelu_mul, rms_norm, silu_mul
from stages.spec.decoder import Decoder, Dense


class RMSNorm(nn.Module):
    """Root-mean-square normalisation with a gain (arXiv 1910.07467), or with 1 + the gain (Gemma's code)."""

    def __init__(self, size: int, eps: float, offset: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps, self.offset = eps, offset

    def forward(self, x: Tensor) -> Tensor:
        """Shape [..., size] -> [..., size]."""
        return rms_norm(x, 1 + self.weight if self.offset else self.weight, self.eps)


def for_products(x: Tensor) -> Tensor:
    """x in the precision of products, where autocast is on: rounded once, and not again by every matrix it meets."""
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x


class SwiGLU(nn.Module):
    """Gated feed-forward network without biases (arXiv 2002.05202), of SiLU or of GELU's tanh form."""

    def __init__(self, hidden: int, cfg: Dense) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(hidden, cfg.ffn, bias=False)
        self.up_proj = nn.Linear(hidden, cfg.ffn, bias=False)
        self.down_proj = nn.Linear(cfg.ffn, hidden, bias=False)
        self.activation = cfg.activation

    def forward(self, x: Tensor) -> Tensor:
        """Shape [..., hidden] -> [..., hidden]."""
        x = for_products(x)
        gate, up = self.gate_proj(x), self.up_proj(x)
        match self.activation:
            case "silu":
                return self.down_proj(silu_mul(gate, up))
            case "gelu_tanh":
                return self.down_proj(gelu_mul(gate, up))
            case _:
                assert_never(self.activation)


class CausalLM(nn.Module):
    """Embedding in, head out: the ends of every language model. Subclasses set `self.model` and give `forward`."""

    model: nn.Module

    def add_ends(self, cfg: Decoder) -> None:
        """Give the model an output matrix of its own, unless it shares the embedding's."""
        self.lm_head = None if cfg.tied else nn.Linear(cfg.hidden, cfg.vocab, bias=False)
        self.softcap, self._scale = cfg.softcap, cfg.embedding_scale

    def embed(self, tokens: Tensor) -> Tensor:
        """Token embeddings [B, T, D] of tokens int64 [B, T]."""
        found = self.model.get_submodule("embed_tokens")(tokens)
        return found if self._scale is None else found * self._scale

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores [..., V] of hidden states [..., D]."""
        return capped(nn.functional.linear(hidden, self.head), self.softcap)

    @property
    def head(self) -> Tensor:
        """The output matrix [V, D]."""
        return self.model.get_parameter("embed_tokens.weight") if self.lm_head is None else self.lm_head.weight


class _TakeRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor, inverse: Tensor, real: Tensor | None) -> Tensor:
        ctx.save_for_backward(inverse, real)
        return x.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        inverse, real = ctx.saved_tensors
        grad = grads[0].index_select(0, inverse)
        return (grad if real is None else grad * real), None, None, None


def take_rows(x: Tensor, index: Tensor, inverse: Tensor, real: Tensor | None) -> Tensor:
    """x[index] along the first dimension, whose backward pass is a gather too: no scattered sums, hence fast and exact.

    `inverse` tells for each row of x where it went. Rows may go to several places if all but the one that `inverse`
    names get a zero gradient; `real` (broadcastable to x) is False for rows of x that went nowhere.
    """
    return _TakeRows.apply(x, index, inverse, real)
