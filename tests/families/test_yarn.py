"""YaRN (arXiv 2309.00071) in every family, beyond the original context, beside transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import Olmo2Config

from stages.contract import rope as contract
from stages.errors import UserError
from stages.models import hf, release_config
from stages.models.build import make
from stages.spec.decoder import Latent
from stages.spec.resolved_models import Rope, Yarn
from tests.families import (
    test_gemma2,
    test_gemma3,
    test_llama,
    test_mistral,
    test_moonlight,
    test_olmo2,
    test_olmo3,
    test_olmoe,
    test_qwen2,
    test_qwen3,
    test_qwen3_moe,
    test_smollm3,
)
from tests.families.checks import ALLOWED, CONTEXT, LENGTH, Checks, importing, words

FAMILIES: dict[str, type[Checks]] = {
    one.MODEL.family: one
    for one in (
        test_gemma2.TestGemma2,
        test_gemma3.TestGemma3,
        test_llama.TestLlama,
        test_mistral.TestMistral,
        test_moonlight.TestMoonlight,
        test_olmo2.TestOlmo2,
        test_olmo3.TestOlmo3,
        test_olmoe.TestOlmoe,
        test_qwen2.TestQwen2,
        test_qwen3.TestQwen3,
        test_qwen3_moe.TestQwen3Moe,
        test_smollm3.TestSmolLM3,
    )
}
PAPER = Yarn(
    factor=4.0, original=16, beta_fast=2.0, beta_slow=0.25, truncate=True, attention_factor=None, mscale=None,
    mscale_all_dim=None,
)  # fmt: skip
YARNS = {
    "paper": PAPER,
    "ends between pairs": PAPER.model_copy(update={"truncate": False}),
    "a stated factor": PAPER.model_copy(update={"attention_factor": 1.3}),
    "two mscales": PAPER.model_copy(update={"mscale": 1.5, "mscale_all_dim": 0.7}),
    "DeepSeek's": PAPER.model_copy(update={"mscale": 1.0, "mscale_all_dim": 1.0}),
}
FOUR, FIVE = "rope_scaling", "rope_parameters"  # where transformers 4 and 5 write positions


def rope(yarn: Yarn = PAPER) -> Rope:
    return Rope(base=100.0, llama3=None, interpolation=1.0, yarn=yarn)


def test_every_family_of_transformers_is_here() -> None:
    from stages.spec.families import FAMILIES as ALL

    assert FAMILIES.keys() | {"ouro"} == ALL.keys()


@pytest.mark.parametrize("kind", YARNS)
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_beyond_the_original_context_are_those_of_transformers(
    family: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if (known := _computed_otherwise(family, kind)) is not None:
        pytest.skip(known)
    if hasattr(Olmo2Config, "_rope_scaling_validation"):  # 4.57's refuses every kind but two, which its model computes
        monkeypatch.setattr(Olmo2Config, "_rope_scaling_validation", lambda config: None)
    one, positions = FAMILIES[family](), rope(YARNS[kind])
    module = one.built(positions)
    theirs = one.theirs(module, positions, tmp_path)
    tokens = words(one.MODEL, 2, LENGTH)
    assert positions.yarn is not None
    assert positions.yarn.original < LENGTH
    with torch.no_grad():
        found = module.logits(module(tokens, torch.arange(LENGTH).expand(2, -1), None, None))
        wanted = theirs(tokens, use_cache=False).logits
    assert (found - wanted).abs().max() <= ALLOWED * max(1.0, wanted.abs().max().item())
    plain = one.built(positions.model_copy(update={"yarn": None}))
    with torch.no_grad():
        unscaled = plain.logits(plain(tokens, torch.arange(LENGTH).expand(2, -1), None, None))
    assert (found - unscaled).abs().max() > 100 * ALLOWED, "YaRN does something here"


def _computed_otherwise(family: str, kind: str) -> str | None:
    """What some versions of transformers get wrong, in words (docs/exporting.md)."""
    version = tuple(map(int, transformers.__version__.split(".")[:2]))
    if family == "olmo3" and (5, 0) <= version < (5, 13):
        return "transformers 5.0 to 5.12 scale layers with a window too"
    if family in ("olmo3", "gemma3") and kind == "ends between pairs" and version >= (5, 0):
        return "transformers 5 does not read `truncate` below a kind of layer"
    return None


@pytest.mark.parametrize("change", ["attention_factor", "frequencies", "scores"])
def test_each_part_of_it_is_seen_in_the_logits(change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Moonlight has all three: what queries and keys are multiplied by, what scores are, and the frequencies."""
    one, positions = FAMILIES["moonlight"](), rope(YARNS["two mscales"])
    theirs = one.theirs(one.built(positions), positions, tmp_path)
    tokens = words(one.MODEL, 1, LENGTH)
    module = one.built(positions)
    if change == "attention_factor":
        monkeypatch.setattr(module.rotary, "attention_factor", 1.0)
    elif change == "scores":
        monkeypatch.setattr(module.rotary, "score_factor", 1.0)
    else:
        monkeypatch.setattr(module.rotary, "_frequencies", tuple(contract.inv_freq(rope(), module.rotary.dim)[::-1]))
    with torch.no_grad():
        found = module.logits(module(tokens, torch.arange(LENGTH)[None], None, None))
        assert (found - theirs(tokens, use_cache=False).logits).abs().max() > 100 * ALLOWED


def released(one: Checks, positions: Rope, folder: Path, form: str, **changes: Any) -> None:
    """A folder in the form of transformers 4 or 5, with changes of its scaling; ... takes a field out."""
    hf.save(make(one.MODEL, positions, "cpu"), one.MODEL, positions, CONTEXT, folder)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    del config["stages"]
    scaling = config.pop("rope_scaling")
    config.pop("rope_parameters", None)
    edited = {key: value for key, value in {**scaling, **changes}.items() if value is not ...}
    theta = {"rope_theta": config.pop("rope_theta")} if form == FIVE else {}
    path.write_text(json.dumps(config | {form: edited | theta}))


@pytest.mark.parametrize("form", [FOUR, FIVE])
@pytest.mark.parametrize("kind", YARNS)
@pytest.mark.parametrize("family", ["qwen3", "moonlight"])
def test_a_release_is_read_in_the_forms_of_transformers_4_and_5(
    family: str, kind: str, form: str, tmp_path: Path
) -> None:
    one, positions = FAMILIES[family](), rope(YARNS[kind])
    released(one, positions, tmp_path, form)
    release_config.check(importing(one.MODEL, positions), "llm", tmp_path, None)


def test_an_olmo3_is_read_in_the_form_that_says_it_for_each_kind_of_layer(tmp_path: Path) -> None:
    """Of transformers 5.13 and after, and of exports; another base for layers with a window is another model."""
    one, path = FAMILIES["olmo3"](), tmp_path / "config.json"
    released(one, rope(), tmp_path, FIVE)
    config = json.loads(path.read_text())
    for local in (100.0, 500_000.0):
        sliding = {"rope_type": "default", "rope_theta": local}
        path.write_text(json.dumps(config | {FIVE: {"full_attention": config[FIVE], "sliding_attention": sliding}}))
        if local == rope().base:
            release_config.check(importing(one.MODEL, rope()), "llm", tmp_path, None)
    with pytest.raises(UserError, match=r"sliding_attention.rope_theta: found 500000.0; allowed: 100.0"):
        release_config.check(importing(one.MODEL, rope()), "llm", tmp_path, None)
    hf.save(make(one.MODEL, rope(), "cpu"), one.MODEL, rope(), CONTEXT, tmp_path)
    written = json.loads(path.read_text())
    assert written[FIVE]["sliding_attention"] == {"rope_type": "default", "rope_theta": 100.0}
    assert written[FIVE]["full_attention"] == written[FOUR] | {"rope_theta": 100.0}
    release_config.check(importing(one.MODEL, rope()), "llm", tmp_path, None)


@pytest.mark.parametrize("form", [FOUR, FIVE])
def test_an_olmo3_that_scales_every_layer_is_another_model(form: str, tmp_path: Path) -> None:
    """transformers 5.12 writes one scaling for all layers, and computes it so; 4.57's form is of full layers alone."""
    one = FAMILIES["olmo3"]()
    released(one, rope(), tmp_path, form)
    if form == FOUR:
        release_config.check(importing(one.MODEL, rope()), "llm", tmp_path, None)
        return
    with pytest.raises(UserError, match=r"rope_parameters.rope_type: found 'yarn'; allowed: scaling below 'full_atten"):
        release_config.check(importing(one.MODEL, rope()), "llm", tmp_path, None)


def test_what_a_release_leaves_out_is_what_transformers_takes(tmp_path: Path) -> None:
    one = FAMILIES["qwen3"]()
    usual = PAPER.model_copy(update={"beta_fast": 32.0, "beta_slow": 1.0, "original": 64})
    released(one, rope(usual), tmp_path, FOUR, beta_fast=..., beta_slow=None, original_max_position_embeddings=...)
    release_config.check(importing(one.MODEL, rope(usual)), "llm", tmp_path, None)
    other = usual.model_copy(update={"beta_fast": 31.0})
    with pytest.raises(UserError, match=r"rope_scaling.beta_fast: found 32.0; allowed: 31.0"):
        release_config.check(importing(one.MODEL, rope(other)), "llm", tmp_path, None)


@pytest.mark.parametrize(
    ("field", "found", "message"),
    [
        ("factor", 8.0, "found 8.0; allowed: 4.0"),
        ("original_max_position_embeddings", 32, "found 32; allowed: 16"),
        ("beta_fast", 32.0, "found 32.0; allowed: 2.0"),
        ("beta_slow", 1.0, "found 1.0; allowed: 0.25"),
        ("truncate", False, "found False; allowed: True"),
        ("attention_factor", 1.5, "found 1.5; allowed: nothing"),
        ("mscale", 0.707, "found 0.707; allowed: nothing"),
        ("mscale_all_dim", 0.707, "found 0.707; allowed: nothing"),
        ("finetuned", True, "found True; allowed: nothing"),
        ("rope_type", "dynamic", "found 'dynamic'; allowed: 'yarn'"),
        ("rope_type", "longrope", "found 'longrope'; allowed: 'yarn'"),
    ],
)
def test_a_release_with_another_yarn_is_refused_by_field(field: str, found: Any, message: str, tmp_path: Path) -> None:
    one = FAMILIES["moonlight"]()
    released(one, rope(), tmp_path, FOUR, **{field: found})
    with pytest.raises(UserError, match=rf"config.json:\d+: rope_scaling.{field}: {message}"):
        release_config.check(importing(one.MODEL, rope()), "llm", tmp_path, None)


@pytest.mark.parametrize("kind", ["dynamic", "longrope", "proportional", "su"])
def test_other_kinds_of_scaling_are_refused_by_name(kind: str, tmp_path: Path) -> None:
    one = FAMILIES["qwen3"]()
    released(one, rope(), tmp_path, FOUR, rope_type=kind)
    with pytest.raises(UserError, match=rf"rope_scaling.rope_type: found '{kind}'; allowed: 'yarn'"):
        release_config.check(importing(one.MODEL, rope()), "llm", tmp_path, None)


def test_layers_with_a_window_are_not_scaled_in_olmo3() -> None:
    """Of all layers' positions only those of the layers that see all keys: their tables are others."""
    one = FAMILIES["olmo3"]()
    tables = one.built(rope()).tables(torch.arange(LENGTH)[None])
    plain = one.built(rope().model_copy(update={"yarn": None})).tables(torch.arange(LENGTH)[None])
    assert torch.equal(tables.of(local=True)[0], plain.of(local=True)[0])
    assert not torch.equal(tables.of(local=False)[0], plain.of(local=False)[0])


def test_scores_are_scaled_in_latent_attention_alone() -> None:
    deepseek = rope(YARNS["DeepSeek's"])
    for family, one in FAMILIES.items():
        latent = isinstance(one.MODEL.parts.layers[0].attention, Latent)
        assert latent == (family == "moonlight")
    assert contract.attention_factor(deepseek) == 1.0
    assert contract.score_factor(deepseek) == pytest.approx((0.1 * 1.3862943611198906 + 1) ** 2)
