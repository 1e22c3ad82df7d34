"""Ouro with one loop is a plain transformer; with more, its loops and exit distribution are the paper's."""

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from stages.models.build import initialise, make
from stages.models.looped import exit_distribution, log_exit_distribution
from stages.spec.families.ouro import OuroModel
from stages.spec.resolved_models import Rope
from tests.rounding import noise

CFG = OuroModel(
    family="ouro", layers=3, hidden=48, ffn=96, heads=4, kv_heads=4, head_dim=12, vocab=67, norm_eps=1e-6,
    tied=False, init_std=0.2, post_norm_gain=0.5,
)  # fmt: skip
ROPE = Rope(base=10_000.0, llama3=None, interpolation=1.0)
TOKENS = torch.randint(0, 67, (2, 20), generator=torch.Generator().manual_seed(0))
POSITIONS = torch.arange(20).expand(2, -1)


@pytest.fixture
def ouro() -> Any:
    module = make(CFG, ROPE, "cpu")
    initialise(module, "llm", CFG, seed=3)
    for name, parameter in module.named_parameters():
        if "norm" in name:  # gains other than 1, so that a norm in the wrong place shows
            parameter.data.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(len(name)))
    return module


def norm(x: Tensor, gain: Tensor) -> Tensor:
    return gain * x / (x.pow(2).mean(-1, keepdim=True) + CFG.norm_eps).sqrt()


def rotated(x: Tensor) -> Tensor:
    """x [B, H, T, D] turned by position, from RoFormer's definition with complex numbers."""
    half = x.shape[-1] // 2
    frequencies = torch.tensor([10_000.0 ** (-i / half) for i in range(half)], dtype=torch.float64)
    turn = torch.polar(torch.ones(20, half, dtype=torch.float64), torch.arange(20)[:, None] * frequencies)
    turned = torch.complex(x[..., :half].double(), x[..., half:].double()) * turn
    return torch.cat((turned.real, turned.imag), dim=-1).float()


def plain_stack(weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """One pass through the layers, written from the paper and the released code's order of norms."""
    for layer in range(CFG.layers):
        w = {name: weights[f"model.layers.{layer}.{name}.weight"] for name in (
            "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj",
            "mlp.up_proj", "mlp.down_proj", "input_layernorm", "input_layernorm_2", "post_attention_layernorm",
            "post_attention_layernorm_2",
        )}  # fmt: skip
        h = norm(x, w["input_layernorm"])
        q, k, v = ((h @ w[f"self_attn.{n}_proj"].T).view(2, 20, 4, 12).transpose(1, 2) for n in "qkv")
        scores = rotated(q) @ rotated(k).mT / math.sqrt(12)
        scores = scores.masked_fill(torch.ones(20, 20, dtype=torch.bool).triu(1), -torch.inf)
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(2, 20, 48) @ w["self_attn.o_proj"].T
        x = x + norm(mixed, w["input_layernorm_2"])
        h = norm(x, w["post_attention_layernorm"])
        fed = (F.silu(h @ w["mlp.gate_proj"].T) * (h @ w["mlp.up_proj"].T)) @ w["mlp.down_proj"].T
        x = x + norm(fed, w["post_attention_layernorm_2"])
    return norm(x, weights["model.norm.weight"])


def test_one_loop_is_the_plain_stack_and_every_loop_starts_from_the_normed_state(ouro: Any) -> None:
    weights = ouro.state_dict()
    allowed = noise(ouro, lambda: ouro(TOKENS, POSITIONS, None, None, loops=1)[0][0], CFG.ffn)  # of one loop
    with torch.no_grad():
        hidden, gates = ouro(TOKENS, POSITIONS, None, None, loops=3)
        x = weights["model.embed_tokens.weight"][TOKENS]
        for got, gate in zip(hidden, gates, strict=True):
            assert (got - plain_stack(weights, x)).abs().max() <= allowed
            x = got
            want = x @ weights["model.early_exit_gate.weight"][0] + weights["model.early_exit_gate.bias"]
            assert (gate - want).abs().max() < 1e-5
        assert torch.equal(ouro(TOKENS, POSITIONS, None, None, loops=1)[0][0], hidden[0])


def test_one_loop_leaves_with_certainty_whatever_the_gate_says() -> None:
    for logit in (-1e4, 0.0, 1e4):
        assert exit_distribution([torch.full((2, 3), logit)]).equal(torch.ones(1, 2, 3))


@given(st.lists(st.floats(-200, 200), min_size=1, max_size=8))
def test_exit_distribution_sums_to_one_and_its_entropy_is_bounded(logits: list[float]) -> None:
    gates = [torch.tensor([logit], dtype=torch.float64) for logit in logits]
    p, log_p = exit_distribution(gates), log_exit_distribution(gates)
    assert torch.isfinite(log_p).all()
    assert p.sum().item() == pytest.approx(1.0, abs=1e-12)
    entropy = -(p * log_p).sum().item()
    assert -1e-12 <= entropy <= math.log(len(logits)) + 1e-12


def test_exit_distribution_by_hand() -> None:
    gates = [torch.logit(torch.tensor(value, dtype=torch.float64)) for value in (0.25, 0.5, 0.9)]
    assert exit_distribution(gates).tolist() == pytest.approx([0.25, 0.375, 0.375])
