"""Gemma 2, with windows shorter than the rows and caps that bind, beside transformers' Gemma2ForCausalLM."""

from typing import ClassVar

from stages.spec.families.gemma2 import Gemma2Model
from stages.spec.resolved_models import Rope
from tests.families.checks import Checks


class TestGemma2(Checks):
    MODEL = Gemma2Model(
        family="gemma2", layers=3, hidden=32, ffn=48, heads=4, kv_heads=2, head_dim=12, query_scalar=16, window=7,
        full_every=2, score_softcap=2.0, logit_softcap=1.5, vocab=61, norm_eps=1e-6, tied=True, init_std=0.02,
    )  # fmt: skip
    ROPES: ClassVar = {"plain": Rope(base=10_000.0, llama3=None, interpolation=1.0)}
    REFUSED: ClassVar = {
        "sliding_window": 8, "attn_logit_softcapping": None, "final_logit_softcapping": 30.0, "head_dim": 8,
        "query_pre_attn_scalar": 12, "hidden_activation": "silu", "tie_word_embeddings": False,
        "use_bidirectional_attention": True, "layer_types": ["full_attention"] * 3,
    }  # fmt: skip
