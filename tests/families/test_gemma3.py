"""Gemma 3 (text), with windows shorter than the rows, beside transformers' Gemma3ForCausalLM."""

from typing import ClassVar

from stages.spec.families.gemma3 import Gemma3Model
from stages.spec.resolved_models import Rope
from tests.families.checks import Checks


class TestGemma3(Checks):
    MODEL = Gemma3Model(
        family="gemma3", layers=3, hidden=32, ffn=48, heads=4, kv_heads=2, head_dim=12, query_scalar=16, window=7,
        full_every=3, local_rope_base=100.0, vocab=61, norm_eps=1e-6, tied=True, init_std=0.02,
    )  # fmt: skip
    ROPES: ClassVar = {
        "plain": Rope(base=1_000_000.0, llama3=None, interpolation=1.0),
        "linear": Rope(base=1_000_000.0, llama3=None, interpolation=4.0),
    }
    REFUSED: ClassVar = {
        "sliding_window": 8, "attn_logit_softcapping": 50.0, "head_dim": 8, "query_pre_attn_scalar": 12,
        "hidden_activation": "silu", "use_bidirectional_attention": True, "layer_types": ["full_attention"] * 3,
    }  # fmt: skip
