"""Every known trap of Megatron's is noticed, and by whom it is said to be; an engine without one passes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.nemo import mutants
from tests.nemo.mutants import MUTANTS, Mutant
from tests.nemo.parity import CASES

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: one.trap)
def test_the_trap_is_noticed(mutant: Mutant, tmp_path: Path) -> None:
    said = mutants.outcome(mutant, tmp_path)
    assert re.search(mutant.by, said), said


def _key(one: Mutant) -> str:
    return f"{one.stage.modules['llm'].family} {one.stage.optimizer} {one.stage.rope} {one.where} {one.child}"


COMPARED = [(case.stage, where) for case in CASES for where in case.layouts]  # in tests/nemo/test_parity.py
OTHERS = {_key(one): one for one in MUTANTS if one.child or (one.stage, one.where) not in COMPARED}


@pytest.mark.parametrize("mutant", OTHERS.values(), ids=lambda one: f"like {one.trap}")
def test_without_a_trap_nothing_is_noticed(mutant: Mutant, tmp_path: Path) -> None:
    assert mutants.outcome(mutant, tmp_path, apply=False) == ""
