"""What a phase costs: its modules, each by the units that it works on."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest

from stages.contract import cost, cost_coca
from stages.contract.cost_phase import Assumed, equal_length, multimodal, operations
from stages.spec.families.llama import LlamaModel
from stages.spec.families.ouro import OuroModel
from stages.spec.resolved_models import ContrastiveModel, MoonViTModel, ProjectorModel
from stages.spec.resolved_phases import Coca, Loops, Preference, Resolution, ShareRamp
from tests.unit.contract._make import phase, source

ENDS = {"norm_eps": 1e-5, "init_std": 0.02}
VIT = MoonViTModel(
    family="moonvit", layers=2, hidden=8, ffn=12, heads=2, patch=4, channels=3, table=6, rope_base=1e4, **ENDS
)
PROJECTOR = ProjectorModel(family="projector", vision_hidden=8, merge=3, llm_hidden=8, **ENDS)
LLM = LlamaModel(
    family="llama", layers=3, hidden=8, ffn=16, heads=2, kv_heads=1, head_dim=4, vocab=32, tied=False, **ENDS
)
POOLING = ContrastiveModel(
    family="contrastive", hidden=8, ffn=12, heads=2, init_log_temperature=2.3, init_bias=-10.0, **ENDS
)
PICTURES = phase(budget=800, context=8, sources=(source(1, "multimodal"),))


def stage(trained: str = "vit projector llm", **modules: Any) -> Any:
    return SimpleNamespace(ref="p/s", modules=modules, trained=tuple(trained.split()), tower=modules.get("vit"))


def assumed(side: Fraction = Fraction(1, 2), positions: Fraction = Fraction(1, 4)) -> Assumed:
    return Assumed(side, positions, {})


def tower(patches: int) -> float:
    return cost.vision_tower(VIT, patches).flops(True, True)


def test_an_image_has_the_patches_of_its_share_of_the_table_and_each_token_merges_some() -> None:
    """Half of a table of 6 x 6: images of 3 x 3 patches; a quarter of 800 positions, 3 x 3 patches in each."""
    with_vit = operations(stage(vit=VIT, projector=PROJECTOR, llm=LLM), PICTURES, assumed())
    without = operations(stage(projector=PROJECTOR, llm=LLM), PICTURES, assumed())
    assert with_vit - without == pytest.approx(200 * 9 * tower(9), rel=1e-12)


def test_without_a_projector_a_patch_is_a_token() -> None:
    assert operations(stage(vit=VIT), PICTURES, assumed()) == pytest.approx(200 * tower(9), rel=1e-12)


@pytest.mark.parametrize(("side", "patches"), [(Fraction(1), 36), (Fraction(1, 3), 4), (Fraction(1, 100), 1)])
def test_an_image_has_at_least_one_patch(side: Fraction, patches: int) -> None:
    found = operations(stage(vit=VIT), PICTURES, assumed(side))
    assert found == pytest.approx(200 * tower(patches), rel=1e-12)


def test_a_gradient_flows_through_what_lies_behind_a_trained_module_and_not_before_it() -> None:
    modules = {"llm": LLM, "projector": PROJECTOR, "vit": VIT}  # whatever the order they are written in
    words, images = cost.language_model(LLM, 8) * 800, 200.0
    patches = cost.vision_tower(VIT, 9) * (9 * images)
    merged = cost.projector(PROJECTOR) * images
    for trained, flows in [
        ("vit", (True, True, True)),
        ("projector", (False, True, True)),
        ("llm", (False,) * 2 + (True,)),
    ]:
        works = zip(("vit", "projector", "llm"), (patches, merged, words), flows, strict=True)
        wanted = sum(work.flops(name == trained, flow) for name, work, flow in works)
        assert operations(stage(trained, **modules), PICTURES, assumed()) == pytest.approx(wanted, rel=1e-12)


def test_rows_cost_what_their_documents_cost_weighed_by_source() -> None:
    """A document of known length counts twice its mean, at most the context; one of unknown length the context."""
    two = phase(context=8, sources=(source(1), source(3, corpus="code")))
    assert equal_length(two, {"prose": 2.0, "code": 3.0}) == (1 * 4 + 3 * 6) / 4
    assert equal_length(two, {"prose": 2.0}) == (1 * 4 + 3 * 8) / 4
    assert equal_length(two, {"prose": 2.0, "code": 100.0}) == (1 * 4 + 3 * 8) / 4
    assert equal_length(two.model_copy(update={"document_mask": False}), {"prose": 2.0, "code": 3.0}) == 8
    assert equal_length(phase(context=8), {"prose": 2.0}) == 8


def test_each_stretch_of_the_resolution_ladder_has_whole_pairs_of_its_own_size() -> None:
    """Caps of 1 x 1 and 3 x 3 patches: of the 32 positions of a batch, 32 pairs and 3."""
    ladder = (Resolution(after=0, cap=4), Resolution(after=300, cap=15))
    of = phase(budget=800, context=8, batch=((0, 4),)).model_copy(
        update={"objective": "coca", "coca": Coca(caption_weight=2.0, resolutions=ladder)}
    )
    one = stage(vit=VIT, head=POOLING)
    wanted = 300 * cost_coca.pair(one, 1, 32) + 500 / 9 * cost_coca.pair(one, 9, 3)
    assert operations(one, of, assumed()) == wanted


def test_a_looped_model_is_charged_for_its_loops() -> None:
    ouro = OuroModel(**{**LLM.model_dump(), "family": "ouro", "post_norm_gain": 1.0})
    text = phase(budget=800, context=8, sources=(source(1),))
    looped = text.model_copy(update={"loops": Loops(count=3, beta=0.1)})
    once = cost.language_model(ouro, 8, 1).flops(True, True) * 800
    assert operations(stage(llm=ouro), text, assumed()) == once
    assert operations(stage(llm=ouro), looped, assumed()) == 3 * once


def test_the_mean_share_of_a_ramp_that_begins_above_nothing() -> None:
    """From 1/5 to 3/5 over the first half of 100 samples, then 3/5: 2/5 and 3/5, half of the time each."""
    ramp = phase(budget=800, context=8, share=ShareRamp(first=(1, 5), last=(3, 5), over=50))
    assert multimodal(ramp) == Fraction(1, 2)
    assert multimodal(ramp.model_copy(update={"budget": 400})) == Fraction(2, 5)


def test_the_reference_of_preference_training_reads_the_same_rows_forward_alone() -> None:
    text = phase(budget=800, context=8, sources=(source(1),))
    settings = Preference(loss="dpo", beta=0.1, answers="sum", turn_ends="learned", nll=0.0)
    words = cost.language_model(LLM, 8) * 800
    found = operations(stage(llm=LLM), text.model_copy(update={"preference": settings}), assumed())
    assert found == words.flops(True, True) + words.flops(False, False)


@pytest.mark.parametrize(("window", "keys"), [(None, 4.0), (8, 4.0), (20, 4.0), (4, 3.0), (2, 1.75)])
def test_a_window_ends_what_a_position_sees(window: int | None, keys: float) -> None:
    """Of 8 positions: those behind the window's length see all of it, those before it half on the average."""
    assert cost.keys_seen(8, window) == keys


def test_work_adds_up_by_part_and_grows_by_part() -> None:
    assert cost.Work(1, 2) + cost.Work(3, 4) == cost.Work(4, 6)
    assert cost.Work(1, 2) * 3 == cost.Work(3, 6)
