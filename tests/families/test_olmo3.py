"""OLMo 3, with windows shorter than the rows, beside transformers' Olmo3ForCausalLM."""

from typing import ClassVar

from stages.spec.families.olmo3 import Olmo3Model
from stages.spec.resolved_models import Rope
from tests.families.checks import Checks


class TestOlmo3(Checks):
    MODEL = Olmo3Model(
        family="olmo3", layers=4, hidden=32, ffn=48, heads=4, kv_heads=2, window=7, full_every=4,
        vocab=61, norm_eps=1e-6, tied=False, init_std=0.02,
    )  # fmt: skip
    ROPES: ClassVar = {"plain": Rope(base=500_000.0, llama3=None, interpolation=1.0)}
    REFUSED: ClassVar = {
        "sliding_window": 8, "layer_types": ["full_attention"] * 4, "num_key_value_heads": 4, "rms_norm_eps": 1e-5,
    }  # fmt: skip
