"""Every mutant is seen by the invariant that is meant for it, and by no other than those declared."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from stages.check import catalogue
from tests.mutants.matrix import MUTANTS, Row, markdown
from tests.mutants.mutant import Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: f"{one.invariant}: {one.defect}")
def test_caught_by_its_own_check_and_by_no_undeclared_one(mutant: Mutant, tmp_path: Path) -> None:
    assert mutant.seen_by(tmp_path) == {mutant.invariant} | mutant.also


def test_every_rule_that_specs_decide_has_at_least_two_mutants() -> None:
    counts = Counter(mutant.invariant for mutant in MUTANTS)
    assert {one.id for one in catalogue.ordered() if one.check is not None and counts[one.id] < 2} == set()
    assert set(counts) <= {one.id for one in catalogue.ordered() if one.check is not None}


def test_the_table_has_a_line_a_mutant_and_says_what_was_missed() -> None:
    first = Row("I-03", "seen by two", "the resolved stage", frozenset({"I-03", "I-99"}))
    text = markdown([first, Row("I-03", "seen by none", "the resolved stage", frozenset())])
    assert text.count("\n| I-03") == 2
    assert "| yes | I-99 |" in text
    assert "| **no** |" in text
    assert text.endswith("1 of 2 mutants caught by the invariant that is meant for them.\n")
