"""At paper scale, on the meta device, parameter counts are the published ones, to four digits."""

import pytest

from stages.contract.parameters import parameters
from stages.models.build import make
from stages.spec.families.llama import LlamaModel
from stages.spec.families.moonlight import MoonlightModel
from stages.spec.families.ouro import OuroModel
from stages.spec.language_model import LanguageModel
from stages.spec.resolved_models import Llama3Scaling, Rope

LLAMA_31_8B = LlamaModel(
    family="llama", layers=32, hidden=4096, ffn=14_336, heads=32, kv_heads=8, head_dim=128, vocab=128_256,
    norm_eps=1e-5, tied=False, init_std=0.02,
)  # fmt: skip
MOONLIGHT = MoonlightModel(
    family="moonlight", layers=27, dense_layers=1, hidden=2048, ffn=11_264, heads=16, vocab=163_840,
    kv_lora_rank=512, qk_nope_dim=128, qk_rope_dim=64, v_head_dim=128, experts=64, active_experts=6,
    shared_experts=2, expert_ffn=1408, routed_scale=2.446, norm_eps=1e-5, tied=False, init_std=0.02,
)  # fmt: skip


def ouro(layers: int) -> OuroModel:
    return OuroModel(
        family="ouro", layers=layers, hidden=2048, ffn=5632, heads=16, kv_heads=16, head_dim=128, vocab=49_152,
        norm_eps=1e-6, tied=False, init_std=0.02, post_norm_gain=1.0,
    )  # fmt: skip


def billions(cfg: LanguageModel) -> float:
    rope = Rope(base=500_000.0, llama3=Llama3Scaling(factor=8.0, low=1.0, high=4.0, original=8192), interpolation=1.0)
    return sum(parameter.numel() for parameter in make(cfg, rope, "meta").parameters()) / 1e9


@pytest.mark.parametrize(
    ("cfg", "published"),
    [(LLAMA_31_8B, "8.030"), (MOONLIGHT, "15.96"), (ouro(24), "1.435"), (ouro(48), "2.668")],
    ids=["Llama-3.1-8B", "Moonlight-16B-A3B", "Ouro-1.4B", "Ouro-2.6B"],
)
def test_counts(cfg: LanguageModel, published: str) -> None:
    assert f"{billions(cfg):.4g}".ljust(len(published), "0") == published


def test_moonlight_active() -> None:
    assert f"{parameters(MOONLIGHT).active / 1e9:.3g}" == "2.24"
    without_ends = billions(MOONLIGHT) - 2 * 163_840 * 2048 / 1e9
    assert f"{without_ends:.4g}" == "15.29"
