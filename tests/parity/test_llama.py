"""Llama's fp32 logits equal transformers' on the same random weights."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from stages.models.build import initialise, make
from stages.spec.families.llama import LlamaModel
from stages.spec.resolved_models import Llama3Scaling, Rope
from tests.rounding import noise

SCALING = Llama3Scaling(factor=8.0, low=1.0, high=4.0, original=32)


def llama(**changes: Any) -> LlamaModel:
    values: dict[str, Any] = {
        "family": "llama", "layers": 3, "hidden": 48, "ffn": 96, "heads": 6, "kv_heads": 2, "head_dim": 8,
        "vocab": 101, "norm_eps": 1e-5, "tied": False, "init_std": 0.2,
    }  # fmt: skip
    return LlamaModel(**(values | changes))


def reference(cfg: LlamaModel, rope: Rope) -> LlamaForCausalLM:
    scaling = None
    if rope.llama3 is not None:
        scaling = {
            "rope_type": "llama3", "factor": rope.llama3.factor, "low_freq_factor": rope.llama3.low,
            "high_freq_factor": rope.llama3.high, "original_max_position_embeddings": rope.llama3.original,
        }  # fmt: skip
    elif rope.interpolation != 1.0:
        scaling = {"rope_type": "linear", "factor": rope.interpolation}
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=cfg.vocab, hidden_size=cfg.hidden, intermediate_size=cfg.ffn, num_hidden_layers=cfg.layers,
            num_attention_heads=cfg.heads, num_key_value_heads=cfg.kv_heads, head_dim=cfg.head_dim,
            max_position_embeddings=256, rms_norm_eps=cfg.norm_eps, rope_theta=rope.base, rope_scaling=scaling,
            tie_word_embeddings=cfg.tied, pad_token_id=None, bos_token_id=None, eos_token_id=None,
        )
    ).eval()  # fmt: skip


@pytest.mark.parametrize(
    "rope",
    [
        Rope(base=10_000.0, llama3=None, interpolation=1.0),
        Rope(base=500_000.0, llama3=SCALING, interpolation=1.0),
        Rope(base=10_000.0, llama3=None, interpolation=8.0),
    ],
    ids=["plain", "llama3", "interpolated"],
)
@pytest.mark.parametrize("changes", [{}, {"kv_heads": 6}, {"tied": True}], ids=["gqa", "mha", "tied"])
def test_logits_equal_transformers(rope: Rope, changes: dict[str, Any]) -> None:
    cfg = llama(**changes)
    ours = make(cfg, rope, "cpu")
    initialise(ours, "llm", cfg, seed=1)
    theirs = reference(cfg, rope)
    missing = theirs.load_state_dict(ours.state_dict(), strict=False)
    assert missing.unexpected_keys == []
    assert missing.missing_keys == (["lm_head.weight"] if cfg.tied else [])
    theirs.tie_weights()
    tokens = torch.randint(0, cfg.vocab, (2, 70), generator=torch.Generator().manual_seed(0))
    positions = torch.arange(70).expand(2, -1)

    def logits() -> Tensor:
        return ours.logits(ours(tokens, positions, None, None))

    with torch.no_grad():
        got, want = logits(), theirs(tokens).logits
    assert want.abs().max() > 1.0
    assert (got - want).abs().max() <= noise(ours, logits, max(cfg.hidden, cfg.ffn))
