"""How much of a corpus a phase is given: by tokens, or by the rows that whole documents were measured to fill."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stages.errors import SpecError
from stages.spec import corpora
from stages.spec.files import Files
from stages.spec.project import Project
from stages.spec.resolved_phases import Source
from tests.unit.spec.small_project import edit
from tests.unit.spec.tuning import tuned


def chats(root: Path) -> Source:
    (source,) = Project.load(root).resolve("toy", "paper").stages["first"].phases[0].sources
    return source


def refused(root: Path) -> str:
    with pytest.raises(SpecError) as caught:
        chats(root)
    return str(caught.value)


def test_where_every_document_fits_into_a_row_tokens_are_enough(root: Path) -> None:
    source = chats(tuned(root, "60_000", longest=100, rows=900, tokens=80_000))
    assert source.end == 469 * 128 + 1 + 100  # the rows' positions, padding or not, and a document's length


def test_documents_that_do_not_fit_are_made_up_for_by_a_longer_stretch(root: Path) -> None:
    """80,000 tokens fill 640 rows: 60,000 are 469 of them, and chance."""
    source = chats(tuned(root, "60_000", longest=700, rows=640, tokens=75_000))
    assert source.end == -(-(469 + 21 + 2) * 80_000 // 640)


def test_what_is_certain_to_fit_is_given_whole(root: Path) -> None:
    source = chats(tuned(root, str(75_000 // 128 * 128), longest=700, rows=600, tokens=75_000))
    assert (source.start, source.end) == (0, 80_000)


def test_a_budget_larger_than_the_corpus_is_allowed_where_padding_makes_the_rows(root: Path) -> None:
    """90,000 positions from 80,000 tokens: 704 of 900 rows."""
    assert chats(tuned(root, "90_000", longest=100, rows=900, tokens=80_000)).end <= 80_000


def test_too_few_rows_are_named_and_the_advised_epochs_are_enough(root: Path) -> None:
    said = refused(tuned(root, "200_000", longest=700, rows=900, tokens=75_000))
    assert "a demand of 1563 rows of 128 tokens of 'chats', of which about 900 are left" in said
    assert "5000 are in documents that are longer" in said
    (advised,) = re.findall(r"(\d+) are enough", said)
    edit(root, "toy/first.yaml", "epochs: 1", f"epochs: {advised}")
    assert chats(root).end <= 80_000
    edit(root, "toy/first.yaml", f"epochs: {advised}", f"epochs: {int(advised) - 1}")
    refused(root)


def test_epochs_are_not_advised_where_none_would_do(root: Path) -> None:
    said = refused(tuned(root, "60_000", longest=700, rows=1, tokens=90))
    assert "epochs" not in said
    assert "Lower its budget, or take a larger corpus." in said


def test_between_two_measured_contexts_the_shorter_one_counts(root: Path) -> None:
    tuned(root, "60_000", longest=700, rows=900, tokens=40_000)
    edit(root, "data/chats.yaml", "  128: ", "  256: {rows: 300, tokens: 76_000}\n  64: ")
    assert "of which about 312 are left" in refused(root)


def test_below_the_least_measured_context_nothing_fits(root: Path) -> None:
    """Powers of two into whose rows no document fits are not printed."""
    tuned(root, "60_000", longest=700, rows=200, tokens=40_000)
    edit(root, "data/chats.yaml", "  128: ", "  512: {rows: 150, tokens: 76_000}\n  256: ")
    said = refused(root)
    assert "found rows of 128 tokens, into which no document of 'chats' fits" in said
    assert "some fit into 256 tokens, all into 700. Lengthen the context." in said


@pytest.mark.parametrize(("rows", "tokens"), [(10, 1_281), (9_000, 80_001)])
def test_a_measure_that_cannot_be_is_refused(root: Path, rows: int, tokens: int) -> None:
    said = refused(tuned(root, "60_000", longest=700, rows=rows, tokens=tokens))
    assert said.startswith("specs/data/chats.yaml:12: packed.128: found ")
    assert "Copy all of what `stages data chats --accept` prints." in said


@pytest.mark.parametrize(
    ("key", "old", "new", "said"),
    [
        ("size", "longest: 700", "longest: 70", "at most 63,000 tokens: documents times longest"),
        ("size", "documents: 900", "documents: 90_000", "at least one token a document"),
        ("packed.128", "longest: 700", "longest: 128", "all 80000 tokens: no document is longer than 128"),
        ("packed.128", "tokens: 60000", "tokens: 57_600", "at least 57601 tokens, since two neighbouring rows have"),
        ("packed.128", "  128:", "  96: {rows: 900, tokens: 60_001}\n  128:", "at least 60001, which fit into 96"),
    ],
)
def test_counts_that_contradict_each_other_are_refused(root: Path, key: str, old: str, new: str, said: str) -> None:
    tuned(root, "1_280", longest=700, rows=900, tokens=60_000)
    assert chats(root).end
    edit(root, "data/chats.yaml", old, new)
    found = refused(root)
    assert found.startswith("specs/data/chats.yaml:")
    assert f" {key}: found " in found
    assert f"allowed: {said}" in found


def test_a_new_measurement_is_printed_whatever_the_spec_says_of_the_last_one(root: Path) -> None:
    document = Files(tuned(root, "1_280", longest=7, rows=900, tokens=60_000)).document(root / "specs/data/chats.yaml")
    assert corpora.corpus(document, declared=False).longest == 7
    with pytest.raises(SpecError, match="at most 6,300 tokens"):
        corpora.corpus(document)
