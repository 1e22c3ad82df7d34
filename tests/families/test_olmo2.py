"""OLMo 2 beside transformers' Olmo2ForCausalLM."""

from typing import ClassVar

from stages.spec.families.olmo2 import Olmo2Model
from stages.spec.resolved_models import Rope
from tests.families.checks import Checks


class TestOlmo2(Checks):
    MODEL = Olmo2Model(
        family="olmo2", layers=2, hidden=32, ffn=48, heads=4, kv_heads=2, vocab=61, norm_eps=1e-6,
        tied=False, init_std=0.02,
    )  # fmt: skip
    ROPES: ClassVar = {"plain": Rope(base=500_000.0, llama3=None, interpolation=1.0)}
    REFUSED: ClassVar = {"num_key_value_heads": 4, "hidden_act": "gelu", "rms_norm_eps": 1e-5, "attention_bias": True}
