"""Spellings that readers of YAML differ on, names written twice, names that nothing has: an error at its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.errors import SpecError
from stages.spec import nodes, units
from stages.spec.extends import overlay
from tests.unit.spec.small_project import edit
from tests.unit.spec.test_bad_specs import FIRST, MINI, MIXTURES, PIPELINE, SECOND, Bad, resolve_everything

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
    Bad("a share of nothing", MIXTURES, "share: 10%", "share: 0%", "above 0%", "mixtures.web.sources.2.share"),
    Bad("a published corpus of no kind", PUBLISHED, "repos: {kind: text", "repos: {kind: txt", "'text', 'sft'",
        "corpora.repos.kind"),
    Bad("an engine class that there is not", MINI, "engine_class: torch-fp32", "engine_class: banana", "'torch-bf16'",
        "engine_class"),
    Bad("an engine that there is not", "scales/paper.yaml", "engine: torch\n", "engine: jax\n", "'torch'", "engine"),
    Bad("a stage that is dropped and was never there", "toy_reading/pipeline.yaml", "extends: toy",
        "extends: toy\ndrop: [secnd]", "second", "drop.0", 1),
    Bad("a key that is removed and was never there", "toy_reading/second.yaml", "stage: second",
        "stage: second\nrpoe: null", "Did you mean 'rope'?", "rpoe", 1),
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD, ids=[bad.name for bad in BAD])
def test_one_clear_error(root: Path, bad: Bad) -> None:
    line = edit(root, bad.file, bad.old, bad.new) + bad.lines_down
    with pytest.raises(SpecError) as caught:
        resolve_everything(root)
    error = caught.value
    assert (error.where.file, error.where.line, error.key) == (f"specs/{bad.file}", line, bad.key)
    assert bad.says in str(error)


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
    with pytest.raises(units.BadQuantity, match="leading zero"):
        units.number(text)
