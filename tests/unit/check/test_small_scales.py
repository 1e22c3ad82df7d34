"""What fails at a small scale alone: the finding names the scale's figures, not those of the published recipe."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.check.findings import Finding, unwaived
from stages.check.rules.mechanisms import mechanisms
from stages.check.run import run
from stages.errors import UserError
from stages.spec.families.smollm3 import SmolLM3Model
from tests.unit.check.test_legitimate import edited
from tests.unit.check.variations import Edits

MINI = "scales/mini.yaml"


def found(folder: Path, invariant: str, edits: Edits, scale: str = "mini") -> list[Finding]:
    return unwaived(run(edited(folder, edits), scale, {invariant}))


def test_a_micro_batch_of_the_scale_is_mended_in_the_scale(tmp_path: Path) -> None:
    findings = found(tmp_path, "I-08", [(MINI, "    micro_batch: 1024 tokens", "    micro_batch: 384 tokens")])
    assert {one.where and one.where.file for one in findings} == {"specs/llama31_1m/sft_32k.yaml"}
    assert findings[0].repair.startswith(
        "Write `micro_batch: 128 tokens`, or a larger `batch`, in pipelines.llama31_1m of specs/scales/mini.yaml"
    )


def test_the_micro_batch_that_is_proposed_serves_every_stage(tmp_path: Path) -> None:
    """One stage alone would do with 1,024 tokens, another asks for 512."""
    edits = [
        ("scales/mini.yaml", "batch: 1/1024", "batch: 1/8192"),
        (MINI, "micro_batch: 1024 tokens", "micro_batch: 2048 tokens"),
    ]
    proposed = {one.repair.partition("`")[2].partition("`")[0] for one in found(tmp_path, "I-08", edits)}
    assert len(proposed) == 1
    assert not found(tmp_path / "mended", "I-08", [*edits, (MINI, "micro_batch: 2048 tokens", proposed.pop())])


def test_a_stand_in_that_knows_fewer_positions_is_named_once_and_below_nothing(tmp_path: Path) -> None:
    base = "llama31_1m/base.yaml"
    short = (base, "      context: 128Ki\n      batch: 32 seq", "      context: 64Ki\n      batch: 64 seq")
    (finding,) = found(tmp_path, "I-35", [short])
    assert (finding.stage, finding.observed) == ("llama31_1m/base", "a stand-in trained on rows of 256 at most")
    assert finding.expected.startswith("rows of 512, to which the release's max_context of 131,072 shrinks")
    waiver = (
        "waivers:\n  - {id: I-35, at: stand_in.phases, found: 64Ki -> 128Ki, reason: short rows will do here}\nsources:"
    )
    assert not found(tmp_path / "waived", "I-35", [short, (base, "^sources:", waiver)])


def test_a_budget_that_is_the_floor_says_so(tmp_path: Path) -> None:
    """Steps that a batch or a context made larger: the scale was right before, and what a waiver names is as it was."""
    (finding,) = found(tmp_path, "I-35", [("llama31_1m/cpt_512k.yaml", "    batch: 8 seq", "    batch: 56 seq")])
    assert finding.observed == f"{finding.found}; that of cpt_512k is the `floor`, 8 steps of 28,672"
    assert finding.found == "a budget of 200,000, against 229,376 of cpt_512k"
    assert finding.repair.endswith("mini.yaml, or the `batch` or `context` that makes such steps.")


def test_what_is_frozen_for_want_of_a_release_is_told_apart(tmp_path: Path) -> None:
    edits = [
        ("kimi_vl/pipeline.yaml", "from: current, to: 1e-4, for: 2B", "from: 0, to: 1e-4, for: 2B"),
        ("kimi_vl/vit_align.yaml", r"from: \{vit: vit_coca, llm: text_pretrain\}", "from: {llm: text_pretrain}"),
        ("kimi_vl/vit_align.yaml", r"vit: inherit, projector", "vit: {release: siglip}, projector"),
        (
            "kimi_vl/vit_align.yaml",
            r"train: \[vit, projector\]\nfrozen: \[llm\]",
            "train: [projector]\nfrozen: [vit, llm]",
        ),
    ]
    (finding,) = found(tmp_path, "I-34", edits)
    assert "No release is given at this scale." in finding.repair
    assert "vit has those of siglip" in finding.repair
    assert not found(tmp_path / "given", "I-34", edits, "paper")
    waiver = "waivers:\n  - {id: I-34, at: [frozen.vit], found: siglip not given, reason: random weights do}\nsources:"
    edits.append(("kimi_vl/vit_align.yaml", "^sources:", waiver))
    assert not found(tmp_path / "waived", "I-34", edits)
    fresh = [*edits, ("kimi_vl/vit_align.yaml", r"vit: \{release: siglip\}", "vit: fresh")]
    assert found(tmp_path / "fresh", "I-34", fresh, "paper"), "what excuses a miniature excuses no random weights"


def test_a_miniature_keeps_a_layer_that_has_no_positions() -> None:
    published = SmolLM3Model(
        family="smollm3", layers=36, hidden=2048, ffn=11_008, heads=16, kv_heads=4, nope_every=4, vocab=128_256,
        norm_eps=1e-6, tied=True, init_std=0.02,
    )  # fmt: skip
    lost = {
        layers: mechanisms(published) - mechanisms(published.model_copy(update={"layers": layers})) for layers in (3, 4)
    }
    assert lost == {3: {"layers that have no positions"}, 4: set()}


@pytest.mark.parametrize(
    ("old", "new", "lost"),
    [
        ("active_experts: 2", "active_experts: 1", "several experts a token"),
        (r"llama31_8b: \{", "llama31_8b: {tied: true, ", "a head of its own"),
    ],
)
def test_a_miniature_keeps_what_the_model_is_made_of(tmp_path: Path, old: str, new: str, lost: str) -> None:
    assert {one.observed for one in found(tmp_path, "I-35", [(MINI, old, new)])} == {f"llm without {lost}"}


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (r"table: 8\}", "table: 3}", "moonvit: {layers: 2"),
        (r"^      projector: .*\n", "", "    models:"),
        (r"moonlight:\n        layers: 3\n        hidden: 64", "moonlight:\n        layers: 3\n        hidden: 128",
         "projector: {vision_hidden: 64"),
    ],
)  # fmt: skip
def test_sizes_that_a_scale_changed_by_half_are_mended_in_the_scale(
    tmp_path: Path, old: str, new: str, line: str
) -> None:
    for one in (findings := found(tmp_path, "S-03", [(MINI, old, new)])):
        assert one.where is not None
        assert one.where.file == f"specs/{MINI}"
        assert line in (tmp_path / one.where.file).read_text().splitlines()[one.where.line - 1]
    assert findings


def test_a_release_without_a_folder_says_what_to_write_without_it(tmp_path: Path) -> None:
    edits = [("releases/siglip.yaml", "^(architecture|digest):.*\n", "")]
    with pytest.raises(
        UserError, match="Without the folder: `digest: none`, and the `architecture` that its published"
    ):
        edited(tmp_path, edits).resolve("kimi_vl", "mini")
