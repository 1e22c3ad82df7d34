"""What layers compute, whatever their fields say."""

from __future__ import annotations

from typing import Any

import pytest
import torch


def pairs_interleaved(patch: pytest.MonkeyPatch) -> None:
    """Rotary pairs are neighbours, as in other models' code."""
    from megatron.core.models.common.embeddings import rope_utils

    real = rope_utils._apply_rotary_pos_emb_bshd

    def apply(t: Any, freqs: Any, rotary_interleaved: bool = False, **named: Any) -> Any:
        return real(t, freqs, True, **named)

    patch.setattr(rope_utils, "_apply_rotary_pos_emb_bshd", apply)


def other_positions(patch: pytest.MonkeyPatch) -> None:
    """Angles are of another base than the frequencies that are read back."""
    from stages.engines.nemo import ouro, rotary

    real = rotary.angles
    for module in (rotary, ouro):
        patch.setattr(module, "angles", lambda positions, frequencies: real(positions, frequencies**1.1))


def windowed(patch: pytest.MonkeyPatch) -> None:
    """Attention's kernel sees the last 16 positions alone."""
    from stages.engines.nemo import attention

    def attend(q: Any, k: Any, v: Any, where: Any, scale: float) -> Any:
        groups, at = q.shape[2] // k.shape[2], torch.arange(q.shape[1])
        keys, values = (x.repeat_interleave(groups, 2) for x in (k, v))
        seen = (at[:, None] >= at) & (at[:, None] - at < 16)
        scores = torch.einsum("bqhd,bkhd->bhqk", q, keys) * scale
        return torch.einsum("bhqk,bkhd->bqhd", scores.masked_fill(~seen, -1e9).softmax(-1), values)

    patch.setattr(attention, "attend", attend)


def attends_wider(patch: pytest.MonkeyPatch) -> None:
    """Attention's kernel multiplies scores by 1% more than its scale."""
    from stages.engines.nemo import attention

    real = attention.attend
    patch.setattr(attention, "attend", lambda q, k, v, where, scale: real(q, k, v, where, scale * 1.01))


def larger_eps(patch: pytest.MonkeyPatch) -> None:
    """Norms add ten times their epsilon, whatever they say."""
    from stages.engines.nemo.norm import Norm

    real = Norm.forward

    def forward(self: Any, x: Any) -> Any:
        eps, self.eps = self.eps, self.eps * 10
        try:
            return real(self, x)
        finally:
            self.eps = eps

    patch.setattr(Norm, "forward", forward)


def normed_keys(patch: pytest.MonkeyPatch) -> None:
    """Queries and keys are normed first."""
    from megatron.core.transformer.attention import SelfAttention

    real = SelfAttention.get_query_key_value_tensors

    def normed(self: Any, *given: Any, **named: Any) -> Any:
        query, key, *rest = real(self, *given, **named)
        return *(torch.nn.functional.normalize(one, dim=-1) for one in (query, key)), *rest

    patch.setattr(SelfAttention, "get_query_key_value_tensors", normed)


def other_head(patch: pytest.MonkeyPatch) -> None:
    """Logits are made by the embedding."""
    from megatron.core.models.gpt import GPTModel

    real = GPTModel.forward

    def forward(self: Any, *given: Any, **named: Any) -> Any:
        self.output_layer.weight.data = self.embedding.word_embeddings.weight.data
        return real(self, *given, **named)

    patch.setattr(GPTModel, "forward", forward)


def softmax_scores(patch: pytest.MonkeyPatch) -> None:
    """Routers score by a softmax."""
    from stages.engines.nemo import router

    def route(x: Any, weight: Any, bias: Any, active: int, scale: float) -> Any:
        scores = torch.nn.functional.linear(x.float(), weight).softmax(-1)
        chosen = (scores + bias).topk(active).indices
        weights = scores.gather(1, chosen)
        return scores, chosen, weights / weights.sum(-1, keepdim=True) * scale

    patch.setattr(router, "route", route)


def rounded_scores(patch: pytest.MonkeyPatch) -> None:
    """Routers compute in bf16."""
    from stages.engines.nemo import router

    real = router.route

    def route(x: Any, weight: Any, bias: Any, active: int, scale: float) -> Any:
        scores, chosen, weights = real(x.bfloat16(), weight.bfloat16(), bias.bfloat16(), active, scale)
        return scores.float(), chosen, weights.float()

    patch.setattr(router, "route", route)


def loop_short(patch: pytest.MonkeyPatch) -> None:
    """The stack runs once less; what it puts out last counts twice."""
    from stages.engines.nemo.ouro import LoopedModel

    real = LoopedModel.forward

    def forward(self: Any, *given: Any, head: Any = None) -> Any:
        tokens, positions, segments, labels, loops = given
        found = real(self, tokens, positions, segments, labels, loops - 1, head)
        if head is not None:
            return torch.cat([found, found[-1:]])
        return tuple(torch.cat([one, one[-1:]]) for one in found)

    patch.setattr(LoopedModel, "forward", forward)


def scale_later(patch: pytest.MonkeyPatch) -> None:
    """An attention's scale is another after it was made."""
    from stages.engines.nemo.attention import DocumentAttention

    real = DocumentAttention.__init__

    def init(self: Any, *given: Any, **named: Any) -> None:
        real(self, *given, **named)
        self.scale *= 0.7

    patch.setattr(DocumentAttention, "__init__", init)


def other_activation(patch: pytest.MonkeyPatch) -> None:
    """A feed-forward network has another activation than its configuration."""
    from megatron.core.transformer.mlp import MLP

    real = MLP.__init__

    def init(self: Any, *given: Any, **named: Any) -> None:
        real(self, *given, **named)
        self.activation_func = torch.nn.functional.gelu

    patch.setattr(MLP, "__init__", init)


def cores_norm(patch: pytest.MonkeyPatch) -> None:
    """The last norm is torch's own."""
    from stages.engines.nemo import llama

    def norm(config: Any, hidden_size: int, eps: float) -> Any:
        return torch.nn.RMSNorm(hidden_size, eps=1e-3)

    real = llama.layers

    def layers(*given: Any, **named: Any) -> Any:
        found = real(*given, **named)
        found.layer_norm = norm
        return found

    patch.setattr(llama, "layers", layers)
