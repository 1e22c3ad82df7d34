"""Moonlight's fp32 logits equal transformers' DeepSeek-V3 on the same random weights."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM

from stages.models.build import initialise, make
from stages.models.hf_names import to_hf
from stages.spec.families.moonlight import MoonlightModel
from stages.spec.resolved_models import Rope
from tests.rounding import noise


def moonlight(**changes: Any) -> MoonlightModel:
    values: dict[str, Any] = {
        "family": "moonlight", "layers": 3, "dense_layers": 1, "hidden": 48, "ffn": 96, "heads": 4, "vocab": 101,
        "kv_lora_rank": 24, "qk_nope_dim": 12, "qk_rope_dim": 8, "v_head_dim": 10, "experts": 8,
        "active_experts": 2, "shared_experts": 2, "expert_ffn": 20, "routed_scale": 2.446, "norm_eps": 1e-5,
        "tied": False, "init_std": 0.1,
    }  # fmt: skip
    return MoonlightModel(**(values | changes))


def reference(cfg: MoonlightModel, rope: Rope) -> DeepseekV3ForCausalLM:
    return DeepseekV3ForCausalLM(
        DeepseekV3Config(
            vocab_size=cfg.vocab, hidden_size=cfg.hidden, intermediate_size=cfg.ffn,
            moe_intermediate_size=cfg.expert_ffn, num_hidden_layers=cfg.layers, num_attention_heads=cfg.heads,
            num_key_value_heads=cfg.heads, n_shared_experts=cfg.shared_experts, n_routed_experts=cfg.experts,
            routed_scaling_factor=cfg.routed_scale, kv_lora_rank=cfg.kv_lora_rank, q_lora_rank=None,
            qk_rope_head_dim=cfg.qk_rope_dim, v_head_dim=cfg.v_head_dim, qk_nope_head_dim=cfg.qk_nope_dim,
            n_group=1, topk_group=1, num_experts_per_tok=cfg.active_experts, first_k_dense_replace=cfg.dense_layers,
            norm_topk_prob=True, rope_interleave=True, rms_norm_eps=cfg.norm_eps, rope_theta=rope.base,
            tie_word_embeddings=cfg.tied, max_position_embeddings=256, bos_token_id=None, eos_token_id=None,
        )
    ).eval()  # fmt: skip


@pytest.mark.parametrize(
    "changes", [{}, {"active_experts": 6, "shared_experts": 1}, {"dense_layers": 0}], ids=["top2", "top6", "all-moe"]
)
def test_logits_equal_transformers(changes: dict[str, Any]) -> None:
    cfg, rope = moonlight(**changes), Rope(base=50_000.0, llama3=None, interpolation=1.0)
    ours = make(cfg, rope, "cpu").eval()
    initialise(ours, "llm", cfg, seed=1)
    for layer, router in enumerate(ours.routers()):
        router.e_score_correction_bias.normal_(0, 0.2, generator=torch.Generator().manual_seed(layer))
    theirs = reference(cfg, rope)
    theirs.load_state_dict(to_hf(ours.state_dict()), strict=True)
    tokens = torch.randint(0, cfg.vocab, (2, 70), generator=torch.Generator().manual_seed(0))

    def logits() -> Tensor:
        return ours.logits(ours(tokens, torch.arange(70).expand(2, -1), None, None))

    with torch.no_grad():
        got, want = logits(), theirs(tokens).logits
    assert want.abs().max() > 0.5
    assert (got - want).abs().max() <= noise(ours, logits, max(cfg.hidden, cfg.ffn))
