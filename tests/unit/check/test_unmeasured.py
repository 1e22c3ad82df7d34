"""Evaluations that do not see what a stage trains, and what an optimizer's state was made with and its heir has not."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.check.notices.inherited import lost_settings
from stages.check.notices.unmeasured import unmeasured
from stages.check.notices.untuned import untuned
from stages.spec.project import Project
from tests import shipped
from tests.edits import edit, replaced
from tests.mutants import unshipped
from tests.unit.check import recipes
from tests.unit.check.reported import of_all


def test_the_shipped_pipelines_have_none() -> None:
    project = shipped.project()
    assert [
        one for scale in project.scales() for tell in (unmeasured, lost_settings) for one in tell(project, scale)
    ] == []
    assert of_all(project, untuned) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("llama31_1m/cpt_512k", "[validation_loss, position_loss, needle]", "[validation_loss]",
         "cpt_512k reads longer rows than any stage above it, and neither position_loss nor needle is among its "
         "evaluations, as it is in base."),
        ("llama31_1m/cpt_512k", "[validation_loss, position_loss, needle]", "[validation_loss, needle]", ""),
        ("llama31_1m/cpt_512k", "[validation_loss, position_loss, needle]", "[]", ""),
        ("llama31_1m/cpt_512k", "[validation_loss, position_loss, needle]",
         "{heldout: [validation_loss], lm_eval: [niah_single_1]}", ""),
        ("llama31_1m/sft_32k", "[validation_loss, answers, position_loss, needle]", "[validation_loss, needle]",
         "sft_32k learns answers, and answers is not among its evaluations, as it is in sft_256k."),
        ("llama31_1m/sft_32k", "[validation_loss, answers, position_loss, needle]", "[validation_loss, answers]", ""),
        ("ouro/stable_1", "[validation_loss, loops]", "[validation_loss]",
         "stable_1 trains in loops, and loops is not among its evaluations, as it is in warmup."),
        ("kimi_vl/joint_pretrain", "[validation_loss, digit_questions]", "[validation_loss]",
         "joint_pretrain learns from pictures, and digit_questions is not among its evaluations, as it is in "
         "vit_align."),
        ("kimi_vl/vit_coca", "[validation_loss, zero_shot, retrieval]", "[validation_loss]", ""),  # no other has them
    ],
)  # fmt: skip
def test_an_evaluation_that_another_stage_has(tmp_path: Path, file: str, old: str, new: str, said: str) -> None:
    """Of a stage that has none at all, copied.py tells; what tasks measure is not known here."""
    edit(shipped.copy(tmp_path) / f"specs/{file}.yaml", f"evaluate: {old}", f"evaluate: {new}")
    told = [one.partition(": ")[2] for one in unmeasured(Project.load(tmp_path), "paper")]
    assert told == [said] * bool(said)


def test_an_evaluation_that_stand_ins_do_not_allow_is_not_missed(tmp_path: Path) -> None:
    """digit_questions of vit_align would be refused where no corpus of builder digit_qa stands in."""
    specs = shipped.copy(tmp_path) / "specs"
    edit(specs / "data/mixtures.yaml", """  kimi_align:
    sources:
      - {corpus: kimi_captions, share: 70%, group: multimodal}
      - {corpus: kimi_ocr, share: 30%, group: multimodal}""", """  kimi_align:
    sources:
      - {corpus: kimi_captions, share: 100%, group: multimodal}""")  # fmt: skip
    edit(specs / "kimi_vl/vit_align.yaml", "[validation_loss, digit_questions]", "[validation_loss]")
    assert not list(unmeasured(Project.load(tmp_path), "paper"))
    edit(specs / "data/published.yaml", "section 3.1, stand_in: captions}\n  kimi_interleaved",
         "section 3.1, stand_in: digit_qa}\n  kimi_interleaved")  # fmt: skip
    (told,) = unmeasured(Project.load(tmp_path), "paper")
    assert "vit_align learns from pictures" in told


GROUPS = "    groups:\n      - {name: tables, of: [embeddings, head], lr: 1, weight_decay: 0}\n"
CLIP = "    clip: 1.0\n"


def two_optimizers(
    folder: Path, stage: str, above: tuple[str, str] = ("", ""), below: tuple[str, str] = ("", "")
) -> Path:
    """Ouro's specs in which a stage has a copy of its optimizer, each of the two with an edit."""
    root = shipped.copy(folder)
    edit(root / f"specs/ouro/{stage}.yaml", "optimizer: adamw", "optimizer: other")
    path = root / "specs/ouro/pipeline.yaml"
    text = path.read_text()
    start = text.index("  adamw:\n")
    own = text[start : text.index(CLIP, start) + len(CLIP)]
    old, new = (replaced(own, *words) if words[0] else own for words in (above, below))
    edit(path, own, old + replaced(new, "  adamw:", "  other:"))
    edit(path, "covers: [optimizers.adamw]", "covers: [optimizers.adamw, optimizers.other]")
    return root


@pytest.mark.parametrize(
    ("above", "below", "optimizer", "said"),
    [
        (GROUPS, "", "inherit", "longct_1_4b trains llm without group 'tables' (lr 1, weight_decay 0) of "
         "ouro/ct_anneal_1_4b, whose optimizer's state it inherits."),
        (GROUPS, GROUPS, "inherit", ""),
        (GROUPS, "", "reset", ""),
        ("", GROUPS, "inherit", ""),
    ],
)  # fmt: skip
def test_groups_that_the_state_was_made_with(tmp_path: Path, above: str, below: str, optimizer: str, said: str) -> None:
    """Embeddings that were not decayed are, from one stage to the next: the optimizer was copied without its groups."""
    root = two_optimizers(tmp_path, "longct_1_4b", (CLIP, CLIP + above), (CLIP, CLIP + below))
    edit(root / "specs/ouro/longct_1_4b.yaml", "optimizer: inherit", f"optimizer: {optimizer}")
    told = [one.partition(": ")[2] for one in lost_settings(Project.load(root), "paper") if "longct_1_4b.yaml" in one]
    assert told == [said] * bool(said)


@pytest.mark.parametrize(
    ("decay", "said"),
    [
        ("0.2", "ct_anneal_1_4b trains with weight_decay 0.2, after 0.1 of ouro/stable_2_1_4b, whose optimizer's "
         "state it inherits."),
        ("0.1", ""),
        ("{schedule: decay}", ""),  # its jumps are I-28's
    ],
)  # fmt: skip
def test_another_decay_on_a_clock_that_is_reset(tmp_path: Path, decay: str, said: str) -> None:
    """A branch of which the decay was mistyped; where the clock goes on, batches.py tells."""
    root = two_optimizers(tmp_path, "ct_anneal_1_4b", below=("weight_decay: 0.1", f"weight_decay: {decay}"))
    falls = "schedules:\n  decay:\n    - {shape: linear, from: 0.1, to: 0.2, until: 1.42T}\n"
    edit(root / "specs/ouro/pipeline.yaml", "\nschedules:\n", f"\n{falls}")
    project = Project.load(root)
    assert project.resolve("ouro", "paper")
    told = [one.partition(": ")[2] for one in lost_settings(project, "paper") if "ct_anneal_1_4b" in one]
    assert told == [said] * bool(said)


@pytest.mark.parametrize("decay", ["0.15", "0.5"])
def test_a_decay_may_be_any_after_a_schedule(tmp_path: Path, decay: str) -> None:
    """A branch leaves a schedule anywhere, with the value of its end, which it has not come to."""
    specs = unshipped.write(tmp_path) / "specs"
    edit(specs / "dense/decay.yaml", "optimizer: reset", "optimizer: inherit")
    path = specs / "dense/pipeline.yaml"
    groups = path.read_text().partition("    groups:\n")[2].partition("    skip:")[0]
    edit(path, f"    groups:\n{groups}", "", "weight_decay: 0.1", f"weight_decay: {decay}")
    project = Project.load(tmp_path)
    assert project.resolve("dense", "full")
    assert not [one for one in lost_settings(project, "full") if "/dense/decay.yaml" in one]


@pytest.mark.parametrize(("parent", "told"), [("sft", False), ("anneal", True), ("pretrain", True)])
def test_preferences_of_the_stage_before_fine_tuning(tmp_path: Path, parent: str, told: bool) -> None:
    root = recipes.write(tmp_path, "olmo2_7b", recipes.recipes()["olmo2_7b"])
    edit(root / "specs/olmo2_7b/dpo.yaml", "from: sft", f"from: {parent}")
    said = f"dpo learns preferences from {parent}, which was not fine-tuned on answers; sft is."
    (one,) = Project.load(root).loadable
    assert [one.partition(": ")[2] for one in untuned(one)] == [said] * told


def test_preferences_where_nothing_is_fine_tuned(tmp_path: Path) -> None:
    """A released model may have been."""
    recipe = recipes.recipes()["olmo2_7b"]
    stages = {name: stage for name, stage in recipe["stages"].items() if name != "sft"}
    root = recipes.write(tmp_path, "olmo2_7b", {**recipe, "stages": stages})
    (one,) = Project.load(root).loadable
    assert list(untuned(one)) == []
