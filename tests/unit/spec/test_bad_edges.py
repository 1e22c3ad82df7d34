"""What is wrong between stages, with schedules over them, and with names that nothing has: one clear error each."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from stages.errors import InvalidSpecs, SpecError, UsageError, UserError
from stages.spec.project import Project
from tests.edits import replaced
from tests.shipped import ROOT
from tests.unit.spec.mistakes import FIRST, MINI, PIPELINE, SECOND, Bad, resolve_everything
from tests.unit.spec.small_project import edit

IMPORT = """\
stage: first
box: First
kind: import
modules: {llm: small}
release: toy_1b
max_context: 8Ki
rope: {base: 10_000, llama3: none, interpolation: 1}
sources:
  - {covers: ["*"], mark: chosen}
"""
LARGE = "{family: llama, layers: 2, hidden: 64, ffn: 96, heads: 4, kv_heads: 2, head_dim: 16, vocab: 512, \
norm_eps: 1e-5, tied: false, init_std: 0.02}"
UPCYCLED = """\
stage: second
box: Second
kind: upcycle
modules: {llm: large}
init: {from: first, weights: {upcycle: concatenate}, optimizer: inherit, clock: continue, data: continue}
"""

BAD = [
    Bad("weights for some modules", SECOND, "weights: inherit", "weights: {vit: inherit}", "unknown module 'vit'",
        "init.weights.vit"),
    Bad("weights for no module", SECOND, "weights: inherit", "weights: {}", "nothing for llm", "init.weights"),
    Bad("an optimizer for an unknown module", SECOND, "optimizer: inherit", "optimizer: {vit: reset}",
        "unknown module 'vit'", "init.optimizer.vit"),
    Bad("a module that the parent does not have", SECOND,
        "modules: {llm: small}\ntrain: [llm]", "modules: {lm: small}\ntrain: [lm]",
        "'lm', which first does not have", "init.from", 5),
    Bad("upcycling in a training stage", SECOND, "weights: inherit", "weights: {upcycle: concatenate}",
        "only there", "init.weights"),
    Bad("continues another schedule", SECOND, "schedule: main", "schedule: other",
        "continue after exactly one parent that reads the same schedule", "init.clock", -3),
    Bad("two units in a stage", FIRST, "    unit: tokens\n    budget: 1B\n    context: 8Ki",
        "    unit: patches\n    budget: 1B\n    context: 8Ki", "A clock counts in one unit", "phases.1.unit"),
    Bad("another unit than the clock's", SECOND, "unit: tokens", "unit: patches", "A clock counts in one unit",
        "phases.0.unit"),
    Bad("a ramp past the budget", FIRST, "{after: 0.5B,", "{after: 1.5B,", "less than 1000000000", "phases.0.batch"),
    Bad("rope without a language model", SECOND, "llama3: none", "llama3: {factor: 8}", "low is required",
        "rope.llama3.low"),
    Bad("a piece that ends before it begins", PIPELINE, "until: 4B}\n  other", "until: 1K}\n  other",
        "pieces that end after they begin", "schedules.main.1.until"),
    Bad("more steps than there are", PIPELINE, "for: 100 steps", "for: 100000 steps", "tokens: 51_927_946_240, if",
        "schedules.main.0.for"),
    Bad("a first piece without a rate", PIPELINE, "{shape: linear, from: 0, to: 1e-3", "{shape: linear, to: 1e-3",
        "a first piece without `from`", "schedules.main.0"),
    Bad("current without a parent", PIPELINE, "{shape: linear, from: 0, to: 1e-3", "{shape: linear, from: current, "
        "to: 1e-3", "where the parent has no schedule", "schedules.main.0"),
    Bad("no rotary positions", SECOND, "rope: {base: 10_000, llama3: none, interpolation: 1}\n", "",
        "Add `rope: {base: ..., llama3: ..., interpolation: ...}`", "rope"),
    Bad("no edge", SECOND, "init:\n  from: first\n  weights: inherit\n  optimizer: inherit\n  clock: continue\n"
        "  data: continue\n", "", "Add `init: {weights: ..., optimizer: ..., clock: ..., data: ...}`", "init"),
    Bad("a claim about nothing", PIPELINE, ", lineage: second}", "}", "neither of `stages` and `lineage`", "claims.0"),
    Bad("a claim about too much", PIPELINE, ", lineage: second}", ", lineage: second, stages: [first]}",
        "both or neither", "claims.0"),
    Bad("a figure that is no number", PIPELINE, "layers: 2,", "layers: two,", "a whole number", "models.small.layers"),
    Bad("a number out of all bounds", PIPELINE, "layers: 2,", f"layers: {'9' * 70},", "a whole number",
        "models.small.layers"),
    Bad("a path that is none", "data/code.yaml", "path: data/code.jsonl", "path: [/a]", "a path relative", "path"),
    Bad("a path of another kind of file", "data/code.yaml", "code.jsonl", "code.csv", "a file that ends in", "path"),
    Bad("a builder's missing parameter", "data/prose.yaml", "{count: 1}", "{}", "needs it", "parameters.count"),
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD, ids=[bad.name for bad in BAD])
def test_one_clear_error(root: Path, bad: Bad) -> None:
    edit(root, bad.file, bad.old, bad.new)
    with pytest.raises(InvalidSpecs) as caught:
        resolve_everything(root)
    (error,) = [one for one in caught.value.errors if one.key == bad.key]
    assert error.where.file == f"specs/{bad.file}"
    assert bad.says in str(error)
    assert error.repair


def test_a_release_without_a_stand_in_cannot_be_a_miniature(root: Path) -> None:
    (root / "specs" / FIRST).write_text(IMPORT)
    edit(root, SECOND, "clock: continue", "clock: reset")
    edit(root, SECOND, "data: continue", "data: restart")
    edit(root, PIPELINE, "stages: [first, second, release]", "drop: []\nstages: [first, second, release]")
    project = Project.load(root)
    assert project.resolve("toy", "paper").stages["first"].init["llm"].release == "toy_1b"
    with pytest.raises(SpecError, match=r"first\.yaml:5: release: found no `stand_in`"):
        project.resolve("toy", "mini")


def test_an_upcycled_model_has_a_multiple_of_the_parents_layers(root: Path) -> None:
    (root / "specs" / SECOND).write_text(UPCYCLED)
    edit(root, PIPELINE, "models:\n", f"models:\n  large: {LARGE}\n")
    (root / "specs/toy_variant/second.yaml").unlink()
    with pytest.raises(SpecError, match=r"second\.yaml:5: init\.weights: found 2 layers becoming 2") as caught:
        Project.load(root).resolve("toy", "paper")
    assert "{upcycle: 0-23 + 8-31}" in caught.value.allowed
    assert caught.value.repair == "Correct the model, or write the layers out."


def test_an_upcycled_model_has_a_parent(root: Path) -> None:
    (root / "specs" / SECOND).write_text(replaced(UPCYCLED, "from: first, ", ""))
    edit(root, PIPELINE, "models:\n", f"models:\n  large: {LARGE}\n")
    with pytest.raises(SpecError, match=r"second\.yaml:5: init\.from: found nothing; allowed: the stage whose model"):
        Project.load(root).resolve("toy", "paper")


def test_an_inheriting_module_has_the_parents_model(root: Path) -> None:
    edit(root, PIPELINE, "models:\n", f"models:\n  large: {LARGE}\n")
    edit(root, SECOND, "{llm: small}", "{llm: large}")
    with pytest.raises(SpecError, match=r"modules\.llm: found another model than first's; .* or upcycle"):
        Project.load(root).resolve("toy", "paper")


@pytest.mark.parametrize(
    ("cosine", "because"),
    [
        ("until: 32_768", ""),
        (
            "for: 32_768",
            ", since long leaves schedule 'long' at 32,768 tokens, inside a cosine piece that ends at 34,816",
        ),
    ],
)
def test_a_jump_after_a_schedule_that_was_left_early_names_it(tmp_path: Path, cosine: str, because: str) -> None:
    """`for` in the place of `until` is above the stage whose rate it makes jump."""
    root = Path(shutil.copytree(ROOT / "examples/tiny", tmp_path / "tiny"))
    edit(root, "tiny/pipeline.yaml", "to: 2e-4, until: 32_768", f"to: 2e-4, {cosine}")
    edit(root, "tiny/pipeline.yaml", "from: current, to: 1e-3, for: 2_048", "from: 1e-4, to: 1e-3, for: 2_048")
    with pytest.raises(SpecError) as caught:
        Project.load(root).resolve("tiny", "mini")
    found, repair = caught.value.found, caught.value.repair
    assert re.fullmatch(rf"a jump of the learning rate from [\d.]+ to 0.0001{because}, as sft reads it", found)
    assert repair.startswith(
        "Let that schedule end where its budgets do." if because else "Start at the current rate (`from: current`), or "
    )


@pytest.mark.parametrize("clock", ["reset", "continue"])
def test_a_warm_up_from_zero_follows_a_rate_of_zero_or_is_a_declared_jump(tmp_path: Path, clock: str) -> None:
    """As docs/spec-format.md says: on a clock that is reset, and within one that goes on."""
    root = Path(shutil.copytree(ROOT / "examples/tiny", tmp_path / "tiny"))
    warm_up, spec = "    - {shape: linear, from: current, to: 1e-3, for: 2_048}\n", "tiny/pipeline.yaml"
    edit(root, spec, warm_up, warm_up.replace("current", "0"))
    if clock == "continue":
        edit(root, spec, "  sft:\n", "")
        edit(root, spec, "{shape: cosine, to: 0, until: 24_576}", "{shape: cosine, to: 0, until: 57_344}")
        edit(root, "tiny/sft.yaml", "optimizer: reset, clock: reset", "optimizer: inherit, clock: continue")
        edit(root, "tiny/sft.yaml", "schedule: sft", "schedule: long")
    start = "no `from`" if clock == "continue" else "`from: current`"
    with pytest.raises(SpecError, match=rf"a jump of the learning rate from .* to 0.*current rate \({start}\)"):
        Project.load(root).resolve("tiny", "mini")
    edit(root, spec, "to: 1e-3, for: 2_048}", "to: 1e-3, for: 2_048, jump: a new warm-up}")
    Project.load(root).resolve("tiny", "mini")
    edit(root, spec, ", jump: a new warm-up", "")
    edit(root, spec, "to: 2e-4, until: 32_768", "to: 0, until: 32_768")
    Project.load(root).resolve("tiny", "mini")


def test_names_that_nothing_has_are_told_with_those_there_are(root: Path) -> None:
    project = Project.load(root)
    with pytest.raises(UsageError, match=r"unknown pipeline 'tay'; there are: toy, toy_variant. Did you mean 'toy'"):
        project.resolve("tay", "mini")
    with pytest.raises(UsageError, match=r"unknown scale 'mimi'; there are: mini, paper. Did you mean 'mini'"):
        project.resolve("toy", "mimi")


def test_a_scale_that_says_nothing_about_a_pipeline_is_told_where_to_add_it(root: Path) -> None:
    edit(root, MINI, "  toy:\n", "  tay:\n")
    with pytest.raises(UserError, match=r"mini\.yaml:\d+: .*[Aa]dd `?(pipelines\.)?toy"):
        Project.load(root).resolve("toy", "mini")


def test_a_folder_without_specs_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no folder specs/ here"):
        Project.load(tmp_path)


def test_a_folder_where_a_file_should_be_is_one_error(root: Path) -> None:
    (root / "specs" / SECOND).unlink()
    (root / "specs" / SECOND).mkdir()
    with pytest.raises(SpecError, match=r"second\.yaml:1: the file: found a directory"):
        resolve_everything(root)
