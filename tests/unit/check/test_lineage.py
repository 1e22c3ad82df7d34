"""What is handed down a lineage: I-37 to I-41, I-30 over an edge, S-09."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.check.findings import Finding, unwaived
from stages.check.run import check, run
from stages.spec.project import Project
from tests.edits import replaced
from tests.mutants import changes
from tests.mutants.mutant import Edited
from tests.unit.check.conftest import Shipped
from tests.unit.check.reported import line
from tests.unit.spec import small_project


def found(folder: Path, id: str, file: str, old: str, new: str, scale: str = "paper") -> list[Finding]:
    """Findings of one invariant on the shipped specs with an edit."""
    return unwaived(run(Edited(file, old, new).project(folder), scale, {id}))


def toy(folder: Path, id: str, *edits: tuple[str, str, str], scale: str = "paper") -> list[Finding]:
    small_project.write(folder)
    for edit in edits:
        small_project.edit(folder, *edit)
    return unwaived(run(Project.load(folder), scale, {id}))


def test_positions_that_go_back_are_named_with_both(tmp_path: Path) -> None:
    first, *_ = found(tmp_path, "I-37", "ouro/midtrain_1_4b.yaml", "base: 1_000_000", "base: 10_000")
    assert first.edge == "ouro/longct_1_4b -> ouro/midtrain_1_4b"
    assert line(first).startswith("rope:")
    assert "base 10000, interpolation 1, after base 1e+06, interpolation 1" in first.observed


def test_the_original_length_of_scaling_stays_though_interpolation_covers_it(tmp_path: Path) -> None:
    first, *_ = found(tmp_path, "I-37", "llama31_1m/cpt_256k.yaml", "original: 8Ki", "original: 128Ki")
    assert first.expected.startswith("the parent's `llama3.original`")
    assert "x8 from 131,072" in first.observed
    assert "x8 from 8,192" in first.observed


def test_scaling_that_is_lost_under_an_interpolation_is_a_finding(tmp_path: Path) -> None:
    """No wavelength falls: the interpolation hides that the released model's scaling is gone."""
    scaling = r"llama3: \{factor: 8, low: 1, high: 4, original: 8Ki\}"
    first, *_ = found(tmp_path / "a", "I-37", "llama31_1m/cpt_256k.yaml", scaling, "llama3: none")
    assert first.expected.startswith("the parent's `llama3`, or `yarn` or a larger base")
    old = r"base: 500_000, " + scaling
    larger = found(tmp_path / "b", "I-37", "llama31_1m/cpt_1m.yaml", old, "base: 207_112_184, llama3: none")
    assert "llama31_1m/cpt_1m" not in {one.stage for one in larger}


def test_a_declared_context_that_shrinks_is_a_finding_though_the_base_rises(tmp_path: Path) -> None:
    first, *_ = found(tmp_path, "I-37", "ouro/reasoning_sft_1_4b.yaml", "base: 1_000_000", "base: 5_000_000")
    assert "shrinks from 65,536 to 32,768" in first.observed


def test_positions_that_are_slowed_for_no_longer_context_are_a_finding(tmp_path: Path) -> None:
    """SFT at 1M after 1M: nothing is lost but what was learned of the old base."""
    edited = found(tmp_path, "I-37", "llama31_1m/sft_1m.yaml", "base: 500_000", "base: 50_000_000")
    first = next(one for one in edited if one.stage == "llama31_1m/sft_1m")
    assert first.edge == "llama31_1m/sft_256k -> llama31_1m/sft_1m"
    assert "trained at more than the parent's 1,048,576 positions" in first.observed
    assert first.at == ("sft_256k -> rope",)
    assert line(first).startswith("rope: {base: 500_000")


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("ouro/reasoning_sft_1_4b.yaml", "context: 32Ki", "context: 16Ki"),
        ("kimi_vl/joint_longctx.yaml", "base: 800_000", "base: 2_000_000"),
        ("ouro/ct_anneal_1_4b.yaml", "base: 40_000", "base: 100_000"),
        ("kimi_vl/joint_cooldown.yaml", "base: 50_000", "base: 800_000"),
    ],
    ids=[
        "a shorter fine-tuning",
        "a higher base at the extension",
        "an earlier extension",
        "a base before its context",
    ],
)
def test_shorter_sequences_and_higher_bases_are_no_way_back(tmp_path: Path, file: str, old: str, new: str) -> None:
    assert found(tmp_path, "I-37", file, old, new) == []


def test_a_quarter_turn_is_what_a_context_may_take(tmp_path: Path) -> None:
    edit = ("ouro/longct_1_4b.yaml", "base: 1_000_000", "base: 40_000")
    first, *_ = found(tmp_path / "paper", "I-29", *edit)
    assert (first.observed, first.expected) == ("65,536 positions", "at most 53,244 with base 40000, interpolation 1")
    assert found(tmp_path / "mini", "I-29", *edit, scale="mini") == []


def test_a_dead_end_names_what_its_neighbours_start_from(tmp_path: Path) -> None:
    (finding,) = found(tmp_path, "I-38", "llama31_1m/sft_256k.yaml", "from: sft_32k", "from: cpt_1m")
    assert finding.stage == "llama31_1m/sft_32k"
    assert line(finding, tmp_path) == "from: cpt_1m", "the stage that passes it over"
    assert "sft_256k is from cpt_1m (specs/llama31_1m/sft_256k.yaml:" in finding.observed


def test_an_average_that_nothing_starts_from_is_a_dead_end(tmp_path: Path) -> None:
    """Its parents are read by it, and still trained for nothing."""
    soup = "stage: soup\nbox: Soup\nkind: merge\ninit: {from: [first, first@1B], weights: uniform}\n"
    small_project.write(tmp_path)
    (tmp_path / "specs/toy/soup.yaml").write_text(soup)
    small_project.edit(tmp_path, "toy/pipeline.yaml", "stages: [first, ", "stages: [first, soup, ")
    (finding,) = unwaived(run(Project.load(tmp_path), "paper", {"I-38"}))
    assert finding.stage == "toy/soup"
    assert finding.observed.startswith("a stage that averages and that no `from` names")


def test_a_pipeline_without_an_export_ends_where_it_ends(tmp_path: Path) -> None:
    edits = [("toy/pipeline.yaml", "stages: [first, second, release]", "stages: [first, second]")]
    small_project.write(tmp_path)
    (tmp_path / "specs/toy/release.yaml").unlink()
    for edit in edits:
        small_project.edit(tmp_path, *edit)
    assert unwaived(run(Project.load(tmp_path), "paper", {"I-38"})) == []


def test_a_stage_kept_by_a_pointer_is_no_dead_end(tmp_path: Path) -> None:
    small_project.write(tmp_path)
    small_project.edit(tmp_path, "toy/pipeline.yaml", "second, release]", "second, release, kept, aside]")
    second = small_project.FILES["toy/second.yaml"]
    aside = replaced(second, "stage: second", "stage: aside", "batch: 64 seq", "batch: 32 seq")
    (tmp_path / "specs/toy/aside.yaml").write_text(aside)
    (tmp_path / "specs/toy/kept.yaml").write_text("stage: kept\nbox: Kept\nkind: keep\ninit: {from: aside}\n")
    assert unwaived(run(Project.load(tmp_path), "paper", {"I-38"})) == []


@pytest.mark.parametrize(("budget", "dead"), [("2B", []), ("1B", ["toy/arm"])])
def test_the_arms_of_a_comparison_need_not_all_go_on(tmp_path: Path, budget: str, dead: list[str]) -> None:
    """Two learning rates from one parent; with another budget it is another stage, which nobody reads."""
    small_project.write(tmp_path)
    small_project.edit(tmp_path, "toy/pipeline.yaml", "second, release]", "second, arm, release]")
    arm = replaced(small_project.FILES["toy/second.yaml"], "stage: second", "stage: arm")
    arm = replaced(arm, "clock: continue", "clock: reset", "schedule: main", "schedule: other")
    (tmp_path / "specs/toy/arm.yaml").write_text(replaced(arm, "budget: 2B", f"budget: {budget}"))
    found = unwaived(run(Project.load(tmp_path), "paper", {"I-38"}))
    assert [one.stage for one in found if one.stage.startswith("toy/")] == dead


RESET = ("toy/second.yaml", "optimizer: inherit", "optimizer: reset")


def test_fresh_moments_on_a_running_clock_are_a_finding_unless_the_rate_warms_up(tmp_path: Path) -> None:
    finding, *_ = toy(tmp_path / "falls", "I-39", RESET)
    assert finding.stage == "toy/second"
    assert line(finding, tmp_path / "falls") == "optimizer: reset"
    schedule = "{shape: cosine, to: 1e-4, until: 4B}"
    rises = "{shape: cosine, to: 1e-4, until: 2B}\n    - {shape: linear, to: 5e-4, for: 1B}\n"
    rewarmed = ("toy/pipeline.yaml", schedule, rises + "    - {shape: linear, to: 0, for: 1B}")
    assert toy(tmp_path / "rises", "I-39", RESET, rewarmed) == []
    assert toy(tmp_path / "reset", "I-39", RESET, ("toy/second.yaml", "clock: continue", "clock: reset"),
               ("toy/second.yaml", "schedule: main", "schedule: other")) == []  # fmt: skip


def test_modules_that_join_another_ones_clock_may_start_with_fresh_moments(tmp_path: Path) -> None:
    """Vision tower and projector come from alignment, on whose schedule joint pre-training does not go on."""
    old, new = "optimizer: inherit", "optimizer: {vit: reset, projector: reset, llm: inherit}"
    assert found(tmp_path, "I-39", "kimi_vl/joint_pretrain.yaml", old, new) == []


def test_a_module_that_was_never_trained_has_no_moments_to_keep(tmp_path: Path) -> None:
    """Frozen during alignment, the tower starts with fresh ones on the clock that the language model goes on with."""
    project = Edited("kimi_vl/vit_align.yaml", "data: restart", "data: restart").project(tmp_path)
    for file, old, new in (
        ("kimi_vl/vit_align.yaml", "train: [vit, projector]\nfrozen: [llm]", "train: [projector]\nfrozen: [vit, llm]"),
        ("kimi_vl/pipeline.yaml", "from: current, to: 1e-4, for: 2B", "from: 0, to: 1e-4, for: 2B"),
        ("kimi_vl/joint_pretrain.yaml", "optimizer: inherit", "optimizer: {vit: reset, '*': inherit}"),
    ):
        small_project.edit(tmp_path, file, old, new)
    assert unwaived(run(project, "paper", {"I-39"})) == []


def test_a_tower_from_before_its_alignment_names_what_it_lacks(tmp_path: Path) -> None:
    (finding,) = found(tmp_path, "I-40", "kimi_vl/joint_pretrain.yaml", "vit: vit_align, proj", "vit: vit_coca, proj")
    assert finding.edge == "kimi_vl/vit_coca -> kimi_vl/joint_pretrain"
    assert "beside projector from kimi_vl/vit_align; kimi_vl/vit_align trained vit further" in finding.observed


def test_a_module_that_the_parent_has_trained_is_not_drawn_anew(tmp_path: Path) -> None:
    file, again = "kimi_vl/joint_cooldown.yaml", "weights: {vit: inherit, projector: fresh, llm: inherit}"
    told = found(tmp_path, "I-40", file, "weights: inherit", again)
    finding = next(one for one in told if one.stage == "kimi_vl/joint_cooldown")
    assert finding.at == ("joint_pretrain -> projector",)
    assert "projector fresh, beside modules of kimi_vl/joint_pretrain" in finding.observed


def test_a_model_that_was_frozen_in_between_may_be_taken_from_before(shipped: Shipped) -> None:
    """The language model of joint pre-training comes from before the alignment, in which it was frozen."""
    context = shipped("kimi_vl", "paper")
    assert context.pipeline.stages["joint_pretrain"].init["llm"].parent == "kimi_vl/text_pretrain"
    assert list(check(context, ("I-40",))) == []
    (finding,) = check(changes.stage("vit_align", trained=("vit", "projector", "llm"))(context), ("I-40",))
    assert "llm from kimi_vl/text_pretrain, beside vit, projector" in finding.observed


def test_one_tokenizer_has_one_vocabulary(tmp_path: Path) -> None:
    pasted = "tokenizer: HuggingFaceTB/SmolLM2-1.7B"
    both = found(tmp_path, "I-41", "kimi_vl/pipeline.yaml", "tokenizer: moonshotai/.*", pasted)
    assert [one.stage for one in both] == ["kimi_vl", "ouro"]
    assert "163,840" in both[0].observed
    assert "49,152 words of ouro's ouro_1_4b" in both[0].expected


def test_a_padded_vocabulary_is_the_same(tmp_path: Path) -> None:
    old = r"(heads: 16\n(?:.*\n){2}    vocab: )49_152(?=(?:.*\n){5}  ouro_2)"
    assert found(tmp_path, "I-41", "ouro/pipeline.yaml", old, r"\g<1>50_176") == []


def test_a_reading_is_at_fault_where_its_tokenizer_is_not_the_releases(tmp_path: Path) -> None:
    edit = ("llama31_1m_seed001/pipeline.yaml", "extends: llama31_1m", "extends: llama31_1m\ntokenizer: another")
    (finding,) = found(tmp_path / "mini", "I-41", *edit, scale="mini")
    assert finding.stage == "llama31_1m_seed001"
    both = found(tmp_path / "paper", "I-41", *edit)
    assert [one.stage for one in both] == ["llama31_1m_seed001/base", "llama31_1m_seed001"]


def test_a_reading_keeps_the_tokenizer_of_the_same_model(tmp_path: Path) -> None:
    edit = ("ouro_seed003/pipeline.yaml", "extends: ouro", "extends: ouro\ntokenizer: HuggingFaceTB/SmolLM3")
    (finding,) = found(tmp_path, "I-41", *edit)
    assert finding.stage == "ouro_seed003/warmup"
    assert line(finding, tmp_path) == "tokenizer: HuggingFaceTB/SmolLM3"
    assert finding.expected == "'HuggingFaceTB/SmolLM2-1.7B', as ouro has it for the same model"


def test_what_only_full_size_has_of_a_reading_is_no_other_pipeline_at_a_small_one(tmp_path: Path) -> None:
    edit = ("ouro_seed003/pipeline.yaml", "extends: ouro", "extends: ouro\ntokenizer: HuggingFaceTB/SmolLM3")
    assert found(tmp_path, "I-35", *edit, scale="mini") == []


def test_a_share_that_falls_over_an_edge_is_a_finding_and_a_text_only_fine_tuning_is_not(tmp_path: Path) -> None:
    first, *_ = found(tmp_path, "I-30", "kimi_vl/joint_cooldown.yaml", "from: 40%, to: 40%", "from: 20%, to: 40%")
    assert first.edge == "kimi_vl/joint_pretrain -> kimi_vl/joint_cooldown"
    assert first.observed == "a share that falls from 40.00% to 20.00% after kimi_vl/joint_pretrain"
    phase = r"    multimodal: \{from: 40%, to: 40%, over: 0%\}\n(    router: .*\nevaluate: )"
    assert len(found(tmp_path / "second", "I-30", "kimi_vl/joint_longctx.yaml", phase,
                     "    multimodal: {from: 30%, to: 40%, over: 50%}\n\\1")) == 2  # fmt: skip


def test_a_stand_in_of_another_kind_is_a_finding_where_it_stands(tmp_path: Path) -> None:
    old, new = r"(midtrain_sft_mix: .*stand_in: )reasoning", r"\1prose"
    first, *_ = found(tmp_path, "S-09", "data/published.yaml", old, new)
    assert line(first).startswith("midtrain_sft_mix")
    assert first.observed == "midtrain_sft_mix of kind sft with the stand-in prose of kind text"
