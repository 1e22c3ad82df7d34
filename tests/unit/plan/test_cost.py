"""FLOPs: published magnitudes, an independent enumeration, and PyTorch's own counter.

The counter knows attention as plain products only, hence the math backend.
"""

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from stages.contract import cost, cost_coca
from stages.contract.cost_phase import Assumed, multimodal, operations
from stages.errors import UserError
from stages.models.build import make
from stages.spec.project import Project
from stages.spec.resolved_models import MoonViTModel, Rope

ROOT = Path(__file__).parents[3]
ASSUMED = Assumed(Fraction(1, 2), Fraction(1, 2), {})
ROPE = Rope(base=10_000.0, llama3=None, interpolation=1.0)


def model(pipeline: str, stage: str, module: str, scale: str = "paper") -> Any:
    return Project.load(ROOT).resolve(pipeline, scale).stages[stage].modules[module]


def per_token(cfg: Any, context: int, loops: int = 1) -> float:
    return cost.language_model(cfg, context, loops).flops(trained=True, gradient=True)


def enumerated(context: int) -> float:
    """Llama-3.1-8B product by product: (rows of the left matrix per token, inner, outer), then x 2 x 3."""
    layer = [(4096, 4096), (4096, 1024), (4096, 1024), (4096, 4096), (4096, 14_336), (4096, 14_336), (14_336, 4096)]
    matrices = 32 * sum(inner * outer for inner, outer in layer) + 4096 * 128_256
    scores_and_values = 32 * 32 * 2 * 128 * (context / 2)  # layers, heads, two products, width of a head, keys
    return 2 * 3 * (matrices + scores_and_values)


@pytest.mark.parametrize(("context", "giga"), [(2**13, 51.5), (2**17, 148), (2**18, 251), (2**19, 457), (2**20, 870)])
def test_llama_8b_by_context(context: int, giga: float) -> None:
    found = per_token(model("llama31_1m", "base", "llm"), context)
    assert found == enumerated(context)
    assert float(f"{found / 1e9:.3g}") == giga


@pytest.mark.parametrize(
    ("where", "loops"),
    [(("llama31_1m", "base", "llm"), 1), (("ouro", "warmup", "llm"), 3), (("kimi_vl", "text_pretrain", "llm"), 1)],
)
def test_language_models_as_pytorch_counts_them(where: tuple[str, str, str], loops: int) -> None:
    """The counter sees full attention, T keys where causal rows see T / 2: the same as a context of 2 T."""
    pipeline, stage, name = where
    cfg, length = model(pipeline, stage, name, scale="mini"), 16
    if cfg.family == "moonlight":  # blocks of 16 rows an expert: with one expert taken by all there is no filling
        cfg = cfg.model_copy(update={"experts": 1, "active_experts": 1})
    torch.manual_seed(0)
    module = make(cfg, ROPE, "cpu")
    tokens, positions = torch.zeros(1, length, dtype=torch.int64), torch.arange(length)[None]
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        extra = (loops,) if cfg.family == "ouro" else ()
        out = module(tokens, positions, None, None, *extra)
        states = out[0] if cfg.family == "ouro" else [out]
        for hidden in states:
            module.logits(hidden)
    wanted = cost.language_model(cfg, 2 * length, loops)
    widened = cfg.layers * cfg.heads * cfg.qk_rope_dim * length if cfg.family == "moonlight" else 0  # v padded to q
    assert counter.get_total_flops() == 2 * length * (wanted.weights + wanted.attention + widened)


def test_vision_tower_as_pytorch_counts_it() -> None:
    cfg = model("kimi_vl", "vit_coca", "vit", scale="mini")
    module = make(cfg, None, "cpu")
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    grid = (cfg.table, cfg.table)  # at the table's own size positions are not interpolated
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module(torch.zeros(cfg.table**2, cfg.channels * cfg.patch**2), [grid])
    wanted = cost.vision_tower(cfg, cfg.table**2) * cfg.table**2
    assert counter.get_total_flops() == 2 * (wanted.weights + wanted.attention)


def test_what_frozen_modules_save() -> None:
    work = cost.Work(weights=10, attention=3)
    assert work.flops(trained=True, gradient=True) == 2 * 3 * 13
    assert work.flops(trained=False, gradient=True) == 2 * (2 * 10 + 3 * 3)
    assert work.flops(trained=False, gradient=False) == 2 * 13
    assert work.flops(trained=True, gradient=False) == work.flops(trained=True, gradient=True)


def test_only_the_experts_taken_count() -> None:
    cfg = model("kimi_vl", "text_pretrain", "llm")
    doubled = cfg.model_copy(update={"experts": 128})
    router = 26 * 64 * 2048
    assert cost.language_model(doubled, 8192).weights - cost.language_model(cfg, 8192).weights == router


def test_a_loop_costs_the_stack_and_the_head_again() -> None:
    cfg = model("ouro", "warmup", "llm")
    assert per_token(cfg, 4096, 8) == 8 * per_token(cfg, 4096, 1)


def test_cutting_a_phase_in_two_changes_nothing() -> None:
    stage = Project.load(ROOT).resolve("ouro", "paper").stages["stable_1"]
    (whole,) = stage.phases
    half = whole.model_copy(update={"budget": whole.budget // 2})
    assert operations(stage, whole, ASSUMED) == pytest.approx(2 * operations(stage, half, ASSUMED), rel=1e-12)


def test_coca_by_resolution() -> None:
    """A pair costs more at a higher cap, and a phase is its stretches of the ladder together."""
    stage = Project.load(ROOT).resolve("kimi_vl", "paper").stages["vit_coca"]
    (phase,) = stage.phases
    tower = stage.modules["vit"]
    assert isinstance(tower, MoonViTModel)
    expected, ladder = 0.0, [(0.0, 0.4, 224), (0.4, 0.75, 448), (0.75, 1.0, 896)]
    for start, end, cap in ladder:
        patches = (cap // 14) ** 2
        assert cost_coca.patches_of(tower, cap) == patches
        pairs = phase.batch[0].sequences * phase.context // patches
        expected += (end - start) * phase.budget / patches * cost_coca.pair(stage, patches, pairs)
    assert operations(stage, phase, ASSUMED) == pytest.approx(expected, rel=1e-9)
    assert cost_coca.pair(stage, 1024, 8192) > 3 * cost_coca.pair(stage, 256, 32_768)


def test_the_mean_multimodal_share() -> None:
    stages = Project.load(ROOT).resolve("kimi_vl", "paper").stages
    shares = {name: multimodal(stages[name].phases[0]) for name in ("text_pretrain", "vit_align", "joint_cooldown")}
    assert shares == {"text_pretrain": 0, "vit_align": 1, "joint_cooldown": Fraction(2, 5)}
    ramp = multimodal(stages["joint_pretrain"].phases[0])  # 0 to 40% over the first half, then 40%
    assert abs(ramp - Fraction(3, 10)) < Fraction(1, 10**6)


def test_modules_that_an_objective_cannot_use_are_named() -> None:
    stages = Project.load(ROOT).resolve("kimi_vl", "paper").stages
    coca = stages["vit_coca"]
    mixed = coca.model_copy(update={"phases": stages["vit_align"].phases})
    with pytest.raises(UserError, match="kimi_vl/vit_coca: objective align has no use for module 'text_tower'"):
        operations(mixed, mixed.phases[0], ASSUMED)
    blind = coca.model_copy(update={"modules": {"decoder": coca.modules["decoder"]}})
    with pytest.raises(UserError, match="needs a vision tower"):
        operations(blind, blind.phases[0], ASSUMED)
