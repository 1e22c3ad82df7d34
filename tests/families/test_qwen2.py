"""Qwen2 beside transformers' Qwen2ForCausalLM."""

from typing import ClassVar

from stages.spec.families.qwen2 import Qwen2Model
from stages.spec.resolved_models import Rope
from tests.families.checks import Checks


class TestQwen2(Checks):
    MODEL = Qwen2Model(
        family="qwen2", layers=2, hidden=32, ffn=48, heads=4, kv_heads=2, vocab=61, norm_eps=1e-6,
        tied=False, init_std=0.02,
    )  # fmt: skip
    ROPES: ClassVar = {
        "plain": Rope(base=1_000_000.0, llama3=None, interpolation=1.0),
        "linear": Rope(base=1_000_000.0, llama3=None, interpolation=4.0),
    }
    REFUSED: ClassVar = {
        "num_key_value_heads": 4, "use_sliding_window": True, "hidden_act": "gelu", "rope_theta": 10_000.0,
        "head_dim": 16, "attention_bias": True,
    }  # fmt: skip


class TestTied(Checks):
    MODEL = TestQwen2.MODEL.model_copy(update={"tied": True, "layers": 1})
    ROPES: ClassVar = {"plain": TestQwen2.ROPES["plain"]}
    REFUSED: ClassVar = {"tie_word_embeddings": False}
