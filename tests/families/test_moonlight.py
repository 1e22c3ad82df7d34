"""Moonlight beside transformers' DeepseekV3ForCausalLM."""

from typing import ClassVar

from stages.spec.families.moonlight import MoonlightModel
from stages.spec.resolved_models import Rope
from stages.spec.resolved_phases import Router
from tests.families.checks import Checks


class TestMoonlight(Checks):
    MODEL = MoonlightModel(
        family="moonlight", layers=2, dense_layers=1, hidden=32, ffn=48, heads=4, vocab=61, kv_lora_rank=16,
        qk_nope_dim=8, qk_rope_dim=8, v_head_dim=12, experts=4, active_experts=2, shared_experts=1, expert_ffn=16,
        routed_scale=2.446, norm_eps=1e-5, tied=False, init_std=0.02,
    )  # fmt: skip
    ROPES: ClassVar = {"plain": Rope(base=50_000.0, llama3=None, interpolation=1.0)}
    REFUSED: ClassVar = {"q_lora_rank": 16, "n_group": 2, "norm_topk_prob": False, "kv_lora_rank": 8, "head_dim": 12}
    ROUTER = Router(bias_update=1e-3, aux_loss=1e-4)


class TestWideValues(Checks):
    """Values wider than queries and keys together with their rotated part."""

    MODEL = TestMoonlight.MODEL.model_copy(update={"v_head_dim": 20})
    ROPES: ClassVar = TestMoonlight.ROPES
    REFUSED: ClassVar = {"v_head_dim": 12}
    ROUTER = TestMoonlight.ROUTER
