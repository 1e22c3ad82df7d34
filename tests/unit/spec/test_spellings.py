"""Spellings that readers of YAML differ on, names written twice, names that nothing has: an error at its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.check.findings import SPEC
from stages.check.run import run
from stages.errors import SpecError, SpecErrors
from stages.spec import nodes, quantities, units
from stages.spec.extends import overlay
from stages.spec.project import Project
from tests.edits import replaced
from tests.unit.spec.mistakes import FIRST, MINI, MIXTURES, PIPELINE, SECOND, Bad, refused, resolve_everything
from tests.unit.spec.small_project import edit

PUBLISHED = "data/published.yaml"
BAD = [
    Bad("yes", SECOND, "document_mask: true", "document_mask: yes", "Write true.", "phases.0.document_mask"),
    Bad("On", SECOND, "document_mask: true", "document_mask: On", "Write true.", "phases.0.document_mask"),
    Bad("off", SECOND, "document_mask: true", "document_mask: off", "Write false.", "phases.0.document_mask"),
    Bad("one for true", SECOND, "document_mask: true", "document_mask: 1", "Write true.", "phases.0.document_mask"),
    Bad("true in quotes", SECOND, "document_mask: true", 'document_mask: "true"', "true or false",
        "phases.0.document_mask"),
    Bad("yes in a model", PIPELINE, "tied: false", "tied: yes", "Write true.", "models.small.tied"),
    Bad("an octal number", SECOND, "epochs: 1", "epochs: 010", "leading zero", "phases.0.epochs"),
    Bad("an octal number with its unit", SECOND, "batch: 64 seq", "batch: 064 seq", "leading zero", "phases.0.batch"),
    Bad("a flag where a name belongs", SECOND, "box: Second", "box: true", "Put quotes around it", "box"),
    Bad("text where a mapping belongs", MINI, "  toy:\n", "  toy: x\n  tay:\n", "a mapping", "pipelines.toy"),
    Bad("a stage listed twice", PIPELINE, "[first, second, release]", "[first, second, first, release]",
        "'first' a second time", "stages.2"),
    Bad("a module trained twice", SECOND, "train: [llm]", "train: [llm, llm]", "'llm' a second time", "train.1"),
    Bad("an evaluation twice", FIRST, "[validation_loss]", "[validation_loss, validation_loss]", "a second time",
        "evaluate.1"),
    Bad("a corpus twice in a mixture", MIXTURES, "corpus: repos", "corpus: crawl", "a second time (first in line 4)",
        "mixtures.web.sources.2"),
    Bad("an anchor the wrong way round", MINI, "{paper: 1B, here: 100K}", "{paper: 100K, here: 1B}",
        "found 1B, which is more than the published 0.1M", "pipelines.toy.tokens.anchor.here"),
    Bad("a share of nothing", MIXTURES, "share: 10%", "share: 0%", "above 0%", "mixtures.web.sources.2.share"),
    Bad("a published corpus of no kind", PUBLISHED, "repos: {kind: text", "repos: {kind: txt", "'text', 'sft'",
        "corpora.repos.kind"),
    Bad("an engine class that there is not", MINI, "engine_class: torch-fp32", "engine_class: banana", "'torch-bf16'",
        "engine_class"),
    Bad("an engine that there is not", "scales/paper.yaml", "engine: torch\n", "engine: jax\n", "'torch'", "engine"),
    Bad("a stage that is dropped and was never there", "toy_variant/pipeline.yaml", "extends: toy",
        "extends: toy\ndrop: [secnd]", "second", "drop.0", 1),
    Bad("a key that is removed and was never there", "toy_variant/second.yaml", "stage: second",
        "stage: second\nrpoe: null", "Did you mean 'rope'?", "rpoe", 1),
    Bad("a context in decimal thousands", SECOND, "context: 8Ki", "context: 8K", "Write 8Ki, or 8_000",
        "phases.0.context"),
    Bad("a context of a decimal million", SECOND, "context: 8Ki", "context: 1M", "Write 1Mi, or 1_000_000",
        "phases.0.context"),
    Bad("repeats of a stage that there is not", MINI, "    min_piece", "    epochs: {secnd: 2}\n    min_piece",
        "Did you mean 'second'?", "pipelines.toy.epochs.secnd"),
    Bad("sizes of a model that there is not", MINI, "      small: {layers: 1}", "      smal: {layers: 1}",
        "Did you mean 'small'?", "pipelines.toy.models.smal"),
    Bad("an optimizer's state that nobody says", SECOND, "optimizer: inherit", "optimizer: {}", "nothing for llm",
        "init.optimizer"),
    Bad("two phases of one name", FIRST, "name: long", "name: short", "'short' a second time", "phases.1.name"),
    Bad("a parent of which nothing is taken", SECOND, "weights: inherit\n  optimizer: inherit",
        "weights: fresh\n  optimizer: reset", "of which nothing is taken", "init.from", -1),
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD, ids=[bad.name for bad in BAD])
def test_one_clear_error(root: Path, bad: Bad) -> None:
    refused(root, bad)


def test_a_name_in_a_list_of_lines_is_told_at_its_own_line(root: Path) -> None:
    edit(root, PIPELINE, "stages: [first, second, release]", "stages:\n  - first\n  - second\n  - release\n  - second")
    with pytest.raises(SpecError) as caught:
        resolve_everything(root)
    assert caught.value.where.line == 23


def test_sources_of_a_file_are_not_those_of_what_it_extends() -> None:
    base, over = nodes.parse(b"a: 1\n", "base"), nodes.parse(b"b: 2\nsources: []\n", "over")
    assert overlay(base, over).value == {"a": "1", "b": "2"}


@pytest.mark.parametrize("text", ["0", "0.5", "0e3", "1e-08", "10", "0.010"])
def test_a_zero_in_front_of_a_point_or_alone_is_a_number(text: str) -> None:
    assert units.number(text) == units.Fraction(text)


@pytest.mark.parametrize("text", ["010", "00", "0_1", "-01", "007.5"])
def test_a_leading_zero_is_not(text: str) -> None:
    with pytest.raises(quantities.BadQuantity, match="leading zero"):
        units.number(text)


def test_repeats_of_a_stage_that_only_a_reading_has_are_known(root: Path) -> None:
    edit(root, MINI, "    min_piece", "    epochs: {third: 2, '*': 1}\n    min_piece")
    edit(root, "toy_variant/pipeline.yaml", "extends: toy", "extends: toy\nstages: [first, second, release, third]")
    third = replaced((root / "specs/toy/second.yaml").read_text(), "stage: second", "stage: third")
    (root / "specs/toy_variant/third.yaml").write_text(third)
    resolve_everything(root)


def test_a_scales_entry_that_is_misspelt_is_a_finding(root: Path) -> None:
    """Without it, the pipeline would not be at the scale, and nothing would say so."""
    line = edit(root, MINI, "  toy:\n", "  tay:\n")
    (finding,) = [one for one in run(Project.load(root), "mini") if one.id == SPEC]
    assert "the unknown pipeline 'tay'" in finding.observed
    assert finding.where is not None
    assert finding.where.line == line


def test_a_scales_entry_of_a_pipeline_that_was_taken_out_is_none(root: Path) -> None:
    text = (root / "specs" / MINI).read_text()
    entry = text[text.index("  toy:\n") : text.index("sources:")]
    (root / "specs" / MINI).write_text(replaced(text, entry, entry + replaced(entry, "  toy:", "  gone:")))
    assert [one for one in run(Project.load(root), "mini") if one.id == SPEC] == []


@pytest.mark.parametrize("text", ["100K", "1.5M", "8Ki", "256_000", "8_000 tokens"])
def test_a_context_that_is_no_power_of_two_times_a_thousand_is_meant_as_written(text: str) -> None:
    assert units.context(text) == units.tokens(text)


def test_a_digest_that_two_corpora_have_is_told_at_both(root: Path) -> None:
    edit(root, "data/code.yaml", "b" * 64, "a" * 64)
    with pytest.raises(SpecErrors) as caught:
        resolve_everything(root)
    assert [error.where.file for error in caught.value.errors] == ["specs/data/code.yaml", "specs/data/prose.yaml"]
    assert "the digest of prose too" in str(caught.value.errors[0])
