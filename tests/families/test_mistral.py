"""Mistral, with a window shorter than the rows and without, beside transformers' MistralForCausalLM."""

from typing import ClassVar

from stages.spec.families.mistral import MistralModel
from stages.spec.resolved_models import Rope
from tests.families.checks import Checks


class TestMistral(Checks):
    MODEL = MistralModel(
        family="mistral", layers=2, hidden=32, ffn=48, heads=4, kv_heads=2, head_dim=12, window=7,
        vocab=61, norm_eps=1e-5, tied=False, init_std=0.02,
    )  # fmt: skip
    ROPES: ClassVar = {"plain": Rope(base=10_000.0, llama3=None, interpolation=1.0)}
    REFUSED: ClassVar = {"sliding_window": None, "head_dim": 8, "num_key_value_heads": 4, "rope_theta": 1e6}


class TestWithoutWindow(Checks):
    MODEL = TestMistral.MODEL.model_copy(update={"window": 0})
    ROPES: ClassVar = {"plain": TestMistral.ROPES["plain"]}
    REFUSED: ClassVar = {"sliding_window": 7}
