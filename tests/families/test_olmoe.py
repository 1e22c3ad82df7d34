"""OLMoE beside transformers' OlmoeForCausalLM."""

from typing import ClassVar

from stages.spec.families.olmoe import OlmoeModel
from stages.spec.resolved_models import Rope
from stages.spec.resolved_phases import Router
from tests.families.checks import Checks


class TestOlmoe(Checks):
    MODEL = OlmoeModel(
        family="olmoe", layers=2, hidden=32, ffn=16, heads=4, kv_heads=2, experts=4, active_experts=2, vocab=61,
        norm_eps=1e-5, tied=False, init_std=0.02,
    )  # fmt: skip
    ROPES: ClassVar = {"plain": Rope(base=10_000.0, llama3=None, interpolation=1.0)}
    REFUSED: ClassVar = {"norm_topk_prob": True, "clip_qkv": 8.0, "num_experts_per_tok": 1, "num_key_value_heads": 4}
    ROUTER = Router(bias_update=0.0, aux_loss=1e-3)
