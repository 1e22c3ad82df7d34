"""What fine-tuning starts from and supervises (I-38, I-20), and what released weights are loaded into (I-27)."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.check.findings import SPEC, Finding, unwaived
from stages.check.run import run
from stages.spec.project import Project
from tests.edits import replaced
from tests.unit.check.reported import line
from tests.unit.data.small import write_spec
from tests.unit.spec.small_project import edit

SFT = "ouro/reasoning_sft_1_4b.yaml"
PAIR = ("ouro/pipeline.yaml", "  - thinking_1_4b\n", "  - thinking_1_4b\n  - early_sft\n")


def found(root: Path, id: str, scale: str = "paper") -> list[Finding]:
    return unwaived(run(Project.load(root), scale, {id}))


@pytest.mark.parametrize(
    ("early", "at", "later"),
    [("longct_1_4b", "longct_1_4b", "midtrain_1_4b"), ("keep_1_4b", "stable_1", "stable_2_1_4b")],
    ids=["before mid-training", "from a pointer, before annealing"],
)
def test_fine_tuning_does_not_pass_over_what_is_exported(root: Path, early: str, at: str, later: str) -> None:
    edit(root, SFT, "from: ouro_1_4b", f"from: {early}")
    first, *_ = found(root, "I-38")
    assert first.observed == (
        f"fine-tuning from ouro/{at}, from which ouro/{later} goes on to ouro/ouro_1_4b; "
        "no fine-tuning starts from there"
    )
    assert line(first, root) == f"from: {early}"


def test_an_early_checkpoint_may_be_fine_tuned_beside_the_last(root: Path) -> None:
    edit(root, *PAIR)
    early = replaced((root / "specs" / SFT).read_text(), "stage: reasoning_sft_1_4b", "stage: early_sft")
    (root / "specs/ouro/early_sft.yaml").write_text(replaced(early, "from: ouro_1_4b", "from: longct_1_4b"))
    assert [one for one in found(root, "I-38") if one.found != "handed to nobody"] == []


@pytest.mark.parametrize("objective", ["looped", "sft"])
def test_conversations_alone_are_read_for_their_answers(root: Path, objective: str) -> None:
    edit(root, SFT, "objective: sft", f"objective: {objective}")
    lines = [line(one, root) for one in found(root, "I-20") if one.stage.startswith("ouro/")]
    assert lines == ([] if objective == "sft" else ["objective: looped"])


def test_conversations_whose_answers_are_documents_each_are_not_read_as_text(root: Path) -> None:
    own = {
        "corpus": "talk", "kind": "sft", "unit": "tokens", "builder": "file", "path": "talk.jsonl",
        "digest": "ab" * 32, "size": "6T", "documents": 500_000_000, "longest": 100_000, "heldout": 200_000,
    }  # fmt: skip
    write_spec(root, "bind", {"bind": {"midtrain_sft_mix": "talk", "reasoning_chat": "talk"}})
    for answers, wanted in ((None, []), ("together", []), ("separate", ["midtrain_1_4b", "midtrain_2_6b"])):
        write_spec(root, "talk", {**own, **({"answers": answers} if answers else {})})
        findings = [one for one in found(root, "I-20") if "talk, of which each answer is a document" in one.observed]
        findings = [one for one in findings if one.stage.startswith("ouro/")]
        assert [one.stage.removeprefix("ouro/") for one in findings] == wanted
        assert {line(one, root) for one in findings} <= {"objective: looped"}


def test_released_weights_are_loaded_into_the_model_that_was_released(root: Path) -> None:
    edit(root, "scales/mini.yaml", "releases: stand_in", "releases: given")
    findings = found(root, "I-27", "mini")
    base = next(one for one in findings if one.stage == "llama31_1m/base")
    assert base.observed == (
        "layers 2, hidden 64, ffn 176, heads 4, kv_heads 2, head_dim 16, vocab 1024, "
        "with the released weights of llama31_8b"
    )
    assert line(base, root).startswith("llama31_8b: {layers: 2")
    assert len(found(root, "I-27", "small")) == 0, "a scale with a stand-in shrinks its model"


def test_a_scale_may_keep_a_released_model_and_shrink_the_rest(root: Path) -> None:
    edit(root, "scales/mini.yaml", "releases: stand_in", "releases: given")
    edit(root, "scales/mini.yaml", "vocab: 1024\n", "")
    edit(root, "scales/mini.yaml", "      llama31_8b: {layers: 2, hidden: 64, ffn: 176, heads: 4, kv_heads: 2, "
         "head_dim: 16}", "      llama31_8b: {init_std: 0.1}")  # fmt: skip
    assert [one for one in found(root, "I-27", "mini") if one.stage.startswith("llama31_1m")] == []


def test_a_published_tokenizer_keeps_its_vocabulary(root: Path) -> None:
    edit(root, "scales/mini.yaml", "corpora: stand_in", "corpora: published")
    findings = found(root, "S-04", "mini")
    base = next(one for one in findings if one.stage == "llama31_1m/base")
    assert (base.observed, base.expected) == ("llm.vocab: 1024", "at least the published tokenizer's 128256")
    assert line(base, root) == "vocab: 1024"
    edit(root, "scales/mini.yaml", "vocab: 1024\n", "")
    assert found(root, "S-04", "mini") == []


def test_a_rate_that_nothing_hands_over_names_the_stage_that_wants_it(root: Path) -> None:
    edit(root, "llama31_1m/sft_32k.yaml", "from: cpt_1m", "from: base")
    (finding,) = [one for one in unwaived(run(Project.load(root), "paper")) if one.id == SPEC]
    assert finding.observed.endswith("`from: current` where the parent has no schedule, as sft_32k reads it")


def test_a_packed_row_has_a_document(root: Path) -> None:
    edit(root, "data/instruct.yaml", "64: {rows: 2326,", "64: {rows: 23260,")
    (finding,) = [one for one in unwaived(run(Project.load(root), "paper")) if one.id == SPEC]
    assert (finding.stage, line(finding, root)) == ("data/instruct", "64: {rows: 23260, tokens: 128892}")
