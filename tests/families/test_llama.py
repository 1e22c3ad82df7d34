"""Llama 3 beside transformers' LlamaForCausalLM."""

from typing import ClassVar

from stages.spec.families.llama import LlamaModel
from stages.spec.resolved_models import Llama3Scaling, Rope
from tests.families.checks import Checks


class TestLlama(Checks):
    MODEL = LlamaModel(
        family="llama", layers=2, hidden=32, ffn=48, heads=4, kv_heads=2, head_dim=12, vocab=61, norm_eps=1e-6,
        tied=False, init_std=0.02,
    )  # fmt: skip
    ROPES: ClassVar = {
        "llama3": Rope(
            base=500_000.0, llama3=Llama3Scaling(factor=8.0, low=1.0, high=4.0, original=32), interpolation=1.0
        )
    }
    REFUSED: ClassVar = {"head_dim": 8, "mlp_bias": True, "sliding_window": 7}
