"""Notices about figures beside those of published recipes and tokenizers: rates, budgets, decays, shares."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from stages.check.notices.budgets import implausible
from stages.check.notices.decays import strong
from stages.check.notices.lengths import cut_short
from stages.check.notices.rates import highest, lowest
from stages.check.notices.shares import exchanged
from stages.check.notices.vocabularies import other_sizes
from stages.spec.project import Project
from tests import shipped
from tests.edits import edit as edited
from tests.mutants import unshipped
from tests.unit.check.reported import of_all
from tests.unit.spec.small_project import edit

KIMI, OURO = "kimi_vl/pipeline.yaml", "ouro/pipeline.yaml"


def test_a_budget_and_its_schedule_that_are_a_thousand_times_too_long(tmp_path: Path) -> None:
    root = shipped.copy(tmp_path)
    for one in ("1_4b", "2_6b"):
        edit(root, f"ouro/reasoning_sft_{one}.yaml", "budget: 68B", "budget: 68T")
    edit(root, OURO, "to: 0, until: 68B", "to: 0, until: 68T")
    notices = [one.partition(": ")[2] for one in implausible(Project.load(root), "paper")]
    said = (
        "reads 68T tokens; for fine-tuning on answers, recipes have 10M to 45B (arXiv 2512.13961), "
        "2504.16891 1T at most."
    )
    assert notices == [f"reasoning_sft_{one} {said}" for one in ("1_4b", "2_6b")]


@pytest.mark.parametrize(("steps", "told"), [(20, True), (40, False)])
def test_a_warm_up_of_forty_steps_is_a_published_one(tmp_path: Path, steps: int, told: bool) -> None:
    """karpathy/nanochat has 40 for models of every size."""
    root = shipped.copy(tmp_path)
    edit(root, KIMI, "to: 4.2e-4, for: 2000 steps", f"to: 4.2e-4, for: {steps} steps")
    assert [f"warms up in {steps} steps" in one for one in implausible(Project.load(root), "paper")] == [True] * told


def test_pre_training_that_reads_less_than_a_token_for_a_parameter(tmp_path: Path) -> None:
    """The tiny example with a large model: a batch and a budget of a miniature."""
    root = Path(shutil.copytree(shipped.ROOT / "examples/tiny", tmp_path / "tiny"))
    edit(root, "tiny/pipeline.yaml", "layers: 2, hidden: 64, ffn: 176, heads: 4, kv_heads: 2, head_dim: 16",
         "layers: 24, hidden: 2048, ffn: 5632, heads: 16, kv_heads: 16, head_dim: 128")  # fmt: skip
    notices = [one.partition(": ")[2] for one in implausible(Project.load(root), "mini")]
    assert notices == [
        "pretrain trains 1.2B parameters from scratch, and all stages of the pipeline together read 120Ki tokens; "
        "20 a parameter are usual (arXiv 2203.15556).",
        "pretrain trains on 512 tokens a step; pre-training of a billion parameters and more has 1M to 128M "
        "(arXiv 2005.14165, 2501.08313).",
        "pretrain warms up in 8 steps; from scratch, recipes have 40 to 8,000 (arXiv 2407.21783 8,000).",
    ]


def test_preferences_at_a_rate_that_moves_nothing(tmp_path: Path) -> None:
    """Of any size: smaller models have higher rates."""
    edit(unshipped.write(tmp_path), "tuned/pipeline.yaml", "to: 1e-5, for: 0.25", "to: 1e-8, for: 0.25")
    (notice,) = lowest(Project.load(tmp_path), "local")
    said = "preferred trains 0.205M parameters at 1e-08 at most, below 3e-08: for preferences at such sizes, most have "
    assert notice.partition(": ")[2].startswith(said)


def test_a_rate_that_only_falls_from_the_parents_is_the_parents(tmp_path: Path) -> None:
    """Ouro's annealing grows the context under a cosine from the rate of pre-training."""
    root = shipped.copy(tmp_path)
    assert "shape: cosine, from: current, to: 3e-5, for: 1.4T" in (root / "specs" / OURO).read_text()
    edit(root, OURO, "from: current, to: 3e-5, for: 1.4T", "from: current, to: 1e-6, for: 1.4T")
    assert [one for tell in (highest, lowest) for one in tell(Project.load(root), "paper") if "anneal" in one] == []


@pytest.mark.parametrize(("epochs", "told"), [(1, 1), (8, 0)])
def test_few_data_that_are_read_often_may_have_a_strong_decay(tmp_path: Path, epochs: int, told: int) -> None:
    root = shipped.copy(tmp_path)
    edit(root, KIMI, "weight_decay: 0.1", "weight_decay: 1")
    for path in (root / "specs/kimi_vl").glob("*_*.yaml"):
        edited(path, "epochs: 1\n", f"epochs: {epochs}\n", everywhere=True)
    assert len(list(strong(Project.load(root), "paper"))) == told


@pytest.mark.parametrize(("until", "told"), [("65_536", True), ("65.5K", False), ("131_072", False)])
def test_a_budget_that_ends_a_little_before_its_constant_rate(tmp_path: Path, until: str, told: bool) -> None:
    root = Path(shutil.copytree(shipped.ROOT / "examples/tiny", tmp_path / "tiny"))
    edit(
        root,
        "tiny/pipeline.yaml",
        "- {shape: cosine, to: 5e-4, until: 65_536}",
        f"- {{shape: constant, until: {until}}}",
    )
    edit(root, "tiny/pretrain.yaml", "budget: 65_536", "budget: 65.5K")
    assert [one.partition(": ")[2] for one in cut_short(Project.load(root), "mini")] == [
        "pretrain ends at 65,500 of schedule 'pretrain', and the schedule at 65,536: K for Ki, M for Mi?"
    ] * told


def test_a_length_in_place_of_an_end(tmp_path: Path) -> None:
    root = Path(shutil.copytree(shipped.ROOT / "examples/tiny", tmp_path / "tiny"))
    edit(root, "tiny/pipeline.yaml", "- {shape: cosine, to: 5e-4, until: 65_536}", "- {shape: constant, for: 65_536}")
    edit(root, "tiny/pipeline.yaml", "to: 5e-3, for: 4_096", "to: 5e-3, for: 2_048")
    (told,) = cut_short(Project.load(root), "mini")
    assert told.endswith(": `until` in place of `for`?")


@pytest.mark.parametrize(
    ("chinese", "maths", "told"), [("10%", "20%", True), ("20%", "10%", False), ("25%", "5%", False)]
)
def test_a_mixture_with_two_shares_of_another_exchanged(tmp_path: Path, chinese: str, maths: str, told: bool) -> None:
    """Kimi's text and the text of its joint stages are one mixture; here two corpora of a third are not."""
    root, file = shipped.copy(tmp_path), "data/mixtures.yaml"
    before = list(exchanged(Project.load(root).data))
    shares = {"english": "40%", "chinese": chinese, "code": "20%", "math": maths, "knowledge": "10%"}
    lines = "".join(f"      - {{corpus: kimi_{one}, share: {part}, group: text}}\n" for one, part in shares.items())
    edit(root, file, "  kimi_pairs:\n", f"  kimi_text_again:\n    sources:\n{lines}  kimi_pairs:\n")
    edit(root, file, "mixtures.kimi_text, ", "mixtures.kimi_text, mixtures.kimi_text_again, ")
    said = "kimi_text_again is kimi_text with the shares of kimi_chinese and kimi_math exchanged."
    assert before == []
    assert [one.partition(": ")[2] for one in exchanged(Project.load(root).data)] == [said] * told


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("tokenizer: moonshotai/Moonlight-16B-A3B", "tokenizer: HuggingFaceTB/SmolLM2-1.7B",
         "moonlight has 163,840 words, and the tokenizer of HuggingFaceTB/SmolLM2-1.7B has 49,152."),
        ("vocab: 163_840", "vocab: 136_840",
         "moonlight has 136,840 words, and the tokenizer of moonshotai/Moonlight-16B-A3B has 163,840."),
        ("vocab: 163_840", "vocab: 164_096", None),  # padded
        ("tokenizer: moonshotai/Moonlight-16B-A3B", "tokenizer: mine/unknown", None),
    ],
)  # fmt: skip
def test_a_vocabulary_that_is_not_the_published_tokenizers(
    tmp_path: Path, old: str, new: str, said: str | None
) -> None:
    edit(shipped.copy(tmp_path), KIMI, old, new)
    assert [one.partition(": ")[2] for one in of_all(Project.load(tmp_path), other_sizes)] == [said] * bool(said)


@pytest.mark.parametrize(
    ("family", "tokens"), [("Qwen2-7B", 151_646), ("Qwen2.5-7B", 151_665), ("Qwen3-8B", 151_669)]
)  # fmt: skip
def test_a_vocabulary_has_rows_for_the_special_tokens_of_qwen(tmp_path: Path, family: str, tokens: int) -> None:
    """The 151,643 tokens of text alone are too few: the token that ends a text is number 151,643."""
    edit(shipped.copy(tmp_path), KIMI, "tokenizer: moonshotai/Moonlight-16B-A3B", f"tokenizer: Qwen/{family}")
    for rows, told in ((tokens, False), (tokens - 1, True)):
        edited(tmp_path / "specs" / KIMI, "vocab: 163_840" if not told else f"vocab: {tokens}", f"vocab: {rows}")
        said = f"moonlight has {rows:,} words, and the tokenizer of Qwen/{family} has {tokens:,}."
        assert [one.partition(": ")[2] for one in of_all(Project.load(tmp_path), other_sizes)] == [said] * told


def test_the_shipped_vocabularies_are_the_published_tokenizers() -> None:
    assert of_all(shipped.project(), other_sizes) == []
