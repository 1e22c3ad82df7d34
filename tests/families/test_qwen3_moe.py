"""Qwen3, mixture of experts, beside transformers' Qwen3MoeForCausalLM."""

from typing import ClassVar

from stages.spec.families.qwen3_moe import Qwen3MoeModel
from stages.spec.resolved_models import Rope
from stages.spec.resolved_phases import Router
from tests.families.checks import Checks


class TestQwen3Moe(Checks):
    MODEL = Qwen3MoeModel(
        family="qwen3_moe", layers=2, hidden=32, ffn=48, heads=4, kv_heads=2, head_dim=12, experts=4, active_experts=2,
        expert_ffn=16, vocab=61, norm_eps=1e-6, tied=False, init_std=0.02,
    )  # fmt: skip
    ROPES: ClassVar = {"plain": Rope(base=1_000_000.0, llama3=None, interpolation=1.0)}
    REFUSED: ClassVar = {
        "norm_topk_prob": False, "num_experts_per_tok": 1, "mlp_only_layers": [0], "decoder_sparse_step": 2,
        "head_dim": 8, "use_sliding_window": True,
    }  # fmt: skip
    ROUTER = Router(bias_update=0.0, aux_loss=1e-3)
