"""Notices of decays that are over too soon, rotary bases beyond all contexts, figures of vision stages, and names that
are almost known ones or of papers to come.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from stages.check.notices import citations
from stages.check.notices.citations import to_come
from stages.check.notices.endings import hasty
from stages.check.notices.reaches import high_bases
from stages.check.notices.run import notices
from stages.check.notices.towers import unusual_towers
from stages.check.notices.vocabularies import KNOWN, mistyped
from stages.spec.project import Project
from tests import shipped
from tests.unit.check import recipes
from tests.unit.check.reported import of_all
from tests.unit.spec.small_project import edit

OURO, KIMI = "ouro/pipeline.yaml", "kimi_vl/pipeline.yaml"
RECIPES = recipes.recipes()


def test_the_shipped_specs_have_none() -> None:
    project = shipped.project()
    assert [one for tell in (hasty, high_bases, unusual_towers) for one in tell(project, "paper")] == []
    assert [*of_all(project, mistyped), *to_come(project)] == []


@pytest.mark.parametrize(("tokens", "told"), [("40B", True), ("119B", True), ("121B", False), ("600B", False)])
def test_an_annealing_that_is_over_before_it_helps(tmp_path: Path, tokens: str, told: bool) -> None:
    """6T at 3e-4, in stages before it: a fiftieth is 120B."""
    shipped.copy(tmp_path)
    line = edit(tmp_path, OURO, "to: 3e-5, for: 1.4T", f"to: 3e-5, for: {tokens}")
    for branch in ("1_4b", "2_6b"):
        edit(tmp_path, f"ouro/ct_anneal_{branch}.yaml", "budget: 1.4T", f"budget: {tokens}")
    found = list(hasty(Project.load(tmp_path), "paper"))
    assert len(found) == told
    if told:
        assert found[0].startswith(f"specs/{OURO}:{line}: anneal falls from 0.0003 to 3e-05 within {tokens}, ")
        assert found[0] in notices(Project.load(tmp_path), ["paper"])


@pytest.mark.parametrize(
    ("pieces", "told"),
    [
        (["constant, until: 9.9T", "linear, to: 0, until: 10T"], "0.1T, 1.01% of the 9898B"),
        (["constant, until: 9T", "1-sqrt, to: 0, until: 10T"], ""),
        (["constant, until: 5T", "constant, until: 9.9T", "linear, to: 0, until: 10T"], "0.1T, 1.01% of the 9898B"),
        (["constant, until: 9.9T", "linear, to: 2e-4, until: 10T"], ""),
        (["cosine, to: 2e-5, until: 9T", "constant, until: 9.9T", "linear, to: 0, until: 10T"], ""),
    ],
    ids=["1%", "10%", "two pieces of one rate", "to half", "after a decay"],
)
def test_a_decay_behind_a_constant_rate(tmp_path: Path, pieces: list[str], told: str) -> None:
    recipe = RECIPES["llama2_7b"]
    pretrain = {
        **recipe["stages"]["pretrain"],
        "tokens": "10T",
        "rates": ["linear, from: 0, to: 3e-4, for: 2B", *pieces],
    }
    project = Project.load(recipes.write(tmp_path, "llama2_7b", {**recipe, "stages": {"pretrain": pretrain}}))
    found = list(hasty(project, "full"))
    assert [told in one for one in found] == [True] * bool(told)


@pytest.mark.parametrize(
    ("base", "told"),
    [
        ("200_000_000_000", True),
        ("100_000_000_000", False),
        ("3_000_000_000", True),
        ("2_000_000_000", False),
        ("1_000_000", False),
    ],
)
def test_a_rotary_base_beyond_every_context(tmp_path: Path, base: str, told: bool) -> None:
    line = edit(shipped.copy(tmp_path), "kimi_vl/joint_longctx.yaml", "base: 800_000", f"base: {base}")
    found = list(high_bases(Project.load(tmp_path), "paper"))
    start = f"specs/kimi_vl/joint_longctx.yaml:{line}: joint_longctx has a rotary base of {int(base):,}, and no stage"
    assert [one.startswith(start) for one in found] == [True] * told


def test_a_base_is_told_where_it_is_new(tmp_path: Path) -> None:
    shipped.copy(tmp_path)
    for name in ("text_pretrain", "vit_align", "joint_pretrain", "joint_cooldown", "joint_longctx"):
        now = "800_000" if name == "joint_longctx" else "50_000"
        edit(tmp_path, f"kimi_vl/{name}.yaml", f"base: {now}", "base: 5_000_000_000")
    (found,) = high_bases(Project.load(tmp_path), "paper")
    assert ": text_pretrain has a rotary base of 5,000,000,000" in found


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("to: 2e-4, for: 40B", "to: 2e-3, for: 40B", ""),
        ("to: 2e-4, for: 40B", "to: 5e-3, for: 40B", "vit_coca trains towers at up to 0.005; for contrastive training"),
        (
            "current, to: 1e-4, for: 2B",
            "current, to: 1e-2, for: 2B",
            "vit_align trains towers at up to 0.01; for align",
        ),
    ],
)
def test_a_rate_of_towers_that_no_recipe_has(tmp_path: Path, old: str, new: str, said: str) -> None:
    line = edit(shipped.copy(tmp_path), KIMI, old, new)
    found = list(unusual_towers(Project.load(tmp_path), "paper"))
    assert [one.startswith(f"specs/{KIMI}:{line}: {said}") for one in found] == [True] * bool(said)


@pytest.mark.parametrize(
    ("batch", "pairs"), [("12 seq", "384"), ("16 seq", ""), ("32768 seq", ""), ("32772 seq", "1,048,704")]
)
def test_pairs_of_a_step(tmp_path: Path, batch: str, pairs: str) -> None:
    """32 squares of 16 x 16 patches are in a row at the first resolution."""
    line = edit(shipped.copy(tmp_path), "kimi_vl/vit_coca.yaml", "batch: 1024 seq", f"batch: {batch}")
    found = list(unusual_towers(Project.load(tmp_path), "paper"))
    start = f"specs/kimi_vl/vit_coca.yaml:{line}: vit_coca compares some {pairs} pairs a step;"
    assert [one.startswith(start) for one in found] == [True] * bool(pairs)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("HuggingFacTB/SmolLM2-1.7B", "HuggingFaceTB/SmolLM"),
        ("HuggingFaceTB/SmoLM2-1.7B", "HuggingFaceTB/SmolLM"),
        ("HuggingFaceTB/SmolML2-1.7B", "HuggingFaceTB/SmolLM"),
        ("huggingface-tb/smollm2-1.7b", ""),
        ("HuggingFaceTB/SmolVLM-Base", ""),
        ("HuggingFaceH4/zephyr-7b-beta", ""),
        ("mistralai/Ministral-8B-Instruct-2410", ""),
        ("moonshoti/Moonlight-16B-A3B", "moonshotai/Moonlight"),
        ("meta-lama/Llama-3.1-8B", "meta-llama/Llama"),
        ("Qwen/Qwen1.5-7B", ""),
        ("Qwen/QwQ-32B", ""),
        ("google/gemma-7b", ""),
        ("allenai/OLMo-1B", ""),
        ("deepseek-ai/DeepSeek-V2", ""),
        ("mine/own", ""),
    ],
)
def test_a_tokenizer_that_is_almost_a_known_one(tmp_path: Path, name: str, meant: str) -> None:
    line = edit(shipped.copy(tmp_path), OURO, "tokenizer: HuggingFaceTB/SmolLM2-1.7B", f"tokenizer: {name}")
    said = f"specs/{OURO}:{line}: the tokenizer is {name!r}; is {meant}... meant?"
    assert of_all(Project.load(tmp_path), mistyped) == [said] * bool(meant)


@pytest.mark.parametrize("name", KNOWN)
def test_a_known_tokenizer_is_not_almost_another(tmp_path: Path, name: str) -> None:
    edit(shipped.copy(tmp_path), OURO, "tokenizer: HuggingFaceTB/SmolLM2-1.7B", f"tokenizer: {name}x")
    assert of_all(Project.load(tmp_path), mistyped) == []


@pytest.mark.parametrize(
    ("number", "now", "told"),
    [
        ("2710.25741", (2026, 12), "2027-10"),
        ("2612.25741", (2026, 12), ""),
        ("2701.25741", (2026, 12), "2027-01"),
        ("2701.25741", (2027, 1), ""),
        ("2611.25741", (1970, 1), ""),
        ("0710.2574", (2026, 12), ""),
    ],
)
def test_a_citation_of_a_paper_to_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: str, now: tuple[int, int], told: str
) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime(*now, 1, tzinfo=tz)

    monkeypatch.setattr(citations, "datetime", Clock)
    line = edit(shipped.copy(tmp_path), OURO, "arXiv 2510.25741 section 4.4}", f"arXiv {number} section 4.4}}")
    said = f"specs/{OURO}:{line}: arXiv {number} is a number of {told}, which is to come."
    assert list(to_come(Project.load(tmp_path))) == [said] * bool(told)
