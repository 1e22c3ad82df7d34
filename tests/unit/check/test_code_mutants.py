"""The code has the properties that tests hold, each of its mutants lacks one, and no invariant is without mutants."""

from __future__ import annotations

from collections import Counter

import pytest

from stages.check import catalogue
from tests.mutants import code, matrix, reported
from tests.mutants.code import CodeMutant


@pytest.mark.parametrize("invariant", sorted(code.PROPERTIES))
def test_the_code_has_the_property(invariant: str) -> None:
    assert code.holds(invariant)


@pytest.mark.parametrize("mutant", code.MUTANTS, ids=lambda one: f"{one.invariant}: {one.defect}")
def test_a_defect_in_the_code_is_seen(mutant: CodeMutant) -> None:
    assert mutant.caught()


def test_every_invariant_has_at_least_two_mutants() -> None:
    """Over specs, reports of engines, and code; that each is caught is asked mutant by mutant."""
    counts = Counter(one.invariant for one in matrix.MUTANTS)
    counts.update(one.invariant for one in code.MUTANTS)
    counts.update(id for id, *_ in (*reported.MUTANTS, *reported.UPCYCLED, *reported.OF_PAIRS))
    invariants = {one.id for one in catalogue.ordered() if one.id.startswith("I-")}
    assert invariants == {f"I-{number:02}" for number in range(1, len(invariants) + 1)}
    assert {id for id in invariants if counts[id] < 2} == set()
