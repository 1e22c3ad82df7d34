"""Qwen3, dense, beside transformers' Qwen3ForCausalLM."""

from typing import ClassVar

from stages.spec.families.qwen3 import Qwen3Model
from stages.spec.resolved_models import Rope
from tests.families.checks import Checks


class TestQwen3(Checks):
    MODEL = Qwen3Model(
        family="qwen3", layers=2, hidden=32, ffn=48, heads=4, kv_heads=2, head_dim=12, vocab=61, norm_eps=1e-6,
        tied=False, init_std=0.02,
    )  # fmt: skip
    ROPES: ClassVar = {
        "plain": Rope(base=1_000_000.0, llama3=None, interpolation=1.0),
        "linear": Rope(base=1_000_000.0, llama3=None, interpolation=4.0),
    }
    REFUSED: ClassVar = {
        "head_dim": 8, "num_key_value_heads": 4, "use_sliding_window": True, "attention_bias": True,
        "hidden_act": "gelu", "rope_theta": 10_000.0, "layer_types": ["sliding_attention"] * 2,
    }  # fmt: skip


class TestTied(Checks):
    MODEL = TestQwen3.MODEL.model_copy(update={"tied": True, "layers": 1})
    ROPES: ClassVar = {"plain": TestQwen3.ROPES["plain"]}
    REFUSED: ClassVar = {"tie_word_embeddings": False}
