"""Decontamination: documents with text of evaluation sets, exact and counted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.data.document import plain
from stages.data.preparing import hashes, overlap
from stages.data.preparing.ngrams import NGrams
from stages.errors import UserError
from tests.unit.data.compared_corpora import EXAM, OWN, QUOTED, declare, exam, rows, said
from tests.unit.data.own_files import run
from tests.unit.data.small import Small


def test_documents_with_text_of_an_evaluation_set_are_left_out(project: Small) -> None:
    """Punctuation, capitals and spaces do not hide it; fewer words in a row than an n-gram are not enough."""
    near = "They asked what is the sum of, and then something else"
    exam(project, [*OWN, QUOTED, near, EXAM[0]], {"exam": "all"})
    made = run(project)
    expected = [*OWN, near]
    kept = said(project)
    heldout_quotes = [one for one in (QUOTED, EXAM[0]) if one in kept]
    assert kept == sorted([*expected, *heldout_quotes])
    assert made.inputs is not None
    assert made.inputs.decontaminated is not None
    matched = made.inputs.decontaminated["exam"]
    assert (matched.of, matched.short, matched.documents) == (20, 0, 2 - len(heldout_quotes))
    assert matched.documents > 0


def test_they_may_be_reported_alone(project: Small) -> None:
    mixed = [*OWN, QUOTED, EXAM[0]]
    exam(project, mixed, {"exam": "all"})
    removed = run(project)
    exam(project, mixed, {"exam": "all"}, found="report")
    made = run(project)
    assert said(project) == sorted(mixed)
    assert made.inputs is not None
    assert removed.inputs is not None
    assert made.inputs.decontaminated == removed.inputs.decontaminated


def test_its_own_held_out_documents_are_an_evaluation_set_too(project: Small) -> None:
    """A training document that quotes one goes; the held-out one stays, and so does what quotes training documents."""
    base = [" ".join(f"word{number}x{place}" for place in range(15)) for number in range(200)]
    heldout = next(one for one in base if plain_heldout(one))
    training = next(one for one in base if not plain_heldout(one))
    prefix = next(n for n in range(100) if not plain_heldout(f"{n} says: {heldout}"))
    quotes = [f"{prefix} says: {heldout}", f"also: {training}"]
    more = {"decontaminate": {"against": {"mine": "heldout"}, "words": 13, "found": "remove"}}
    declare(project, "mine", rows(project.root, "mine", [*base, *quotes]), **more)
    made = run(project)
    kept = said(project)
    assert heldout in kept
    assert quotes[1] in kept
    assert quotes[0] not in kept
    assert made.inputs is not None
    assert made.inputs.decontaminated is not None
    assert made.inputs.decontaminated["mine"].of == sum(map(plain_heldout, base + quotes))


def plain_heldout(text: str) -> bool:
    return overlap.records.document_of_text(text).heldout


def test_what_is_shorter_than_an_n_gram_is_counted_and_a_set_of_nothing_else_is_refused(project: Small) -> None:
    exam(project, OWN, {"exam": "all"}, words=13)
    made = run(project)
    assert made.inputs is not None
    assert made.inputs.decontaminated is not None
    assert made.inputs.decontaminated["exam"].short == 0
    exam(project, OWN, {"exam": "all"}, words=14)
    (project.root / "exam.jsonl").write_text(json.dumps({"text": "too short"}) + "\n" + json.dumps({"text": EXAM[11]}))
    made = run(project)
    assert made.inputs is not None
    assert made.inputs.decontaminated is not None
    assert (made.inputs.decontaminated["exam"].of, made.inputs.decontaminated["exam"].short) == (2, 1)
    (project.root / "exam.jsonl").write_text(json.dumps({"text": "too short"}) + "\n")
    with pytest.raises(UserError, match=r"decontaminate: none of the 1 documents of exam that count has 14 words"):
        run(project)
    assert [one.name for one in project.data.iterdir() if one.name.startswith(".")] == []


def test_hashes_that_are_there_are_looked_up_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copied document has a thousand of them."""
    every = hashes.of(map(str, range(1000)))
    hashes.write(tmp_path / "x", [every])
    known, looks, search = hashes.Hashes(tmp_path / "x"), list[None](), np.searchsorted
    monkeypatch.setattr(np, "searchsorted", lambda *given, **how: (looks.append(None), search(*given, **how))[1])
    assert known.have(every).all()
    assert len(looks) < 5


@given(st.sets(st.integers(0, 40)), st.lists(st.integers(0, 40)))
def test_a_set_on_the_disk_is_a_set(
    tmp_path_factory: pytest.TempPathFactory, known: set[int], asked: list[int]
) -> None:
    """Also where first halves are equal."""
    folder = tmp_path_factory.mktemp("set")
    table = np.array([(number // 5 << 57, number % 5) for number in range(41)], dtype=hashes.PAIR)
    blocks = [table[sorted(known)], table[sorted(known)[:3]]]
    assert hashes.write(folder / "x", blocks)[0].size == 8 * len(known)
    found = hashes.Hashes(folder / "x").have(table[asked])
    assert found.tolist() == [number in known for number in asked]


@given(
    st.lists(st.sampled_from("abcde"), max_size=30), st.lists(st.sampled_from("abcde"), max_size=30), st.integers(2, 6)
)
def test_n_grams_are_shared_exactly_where_runs_of_words_are(
    tmp_path_factory: pytest.TempPathFactory, one: list[str], other: list[str], words: int
) -> None:
    def runs(said: list[str]) -> set[tuple[str, ...]]:
        return {tuple(said[at : at + words]) for at in range(len(said) - words + 1)}

    ngrams = NGrams(words)
    first, second = (plain("x", " ".join(said), False) for said in (one, other))
    folder = tmp_path_factory.mktemp("set")
    assert hashes.write(folder / "x", [ngrams.of(first)])[0].size == 8 * len(runs(one))
    assert ngrams.among(second, hashes.Hashes(folder / "x")) == bool(runs(one) & runs(other))


def test_characters_without_spaces_between_words_are_words() -> None:
    assert len(NGrams(5).of(plain("x", "\u6211\u4eec\u4eca\u5929\u53bb\u5b66\u6821", False))) == 3
    assert len(NGrams(5).of(plain("x", "nospaceshere", False))) == 0
