"""A stage on this engine is the stage on the torch engine, up to rounding, in every layout."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import pytest

from tests.nemo import parity
from tests.nemo.engines import Layout
from tests.nemo.parity import CASES, Case, Course
from tests.unit.train import tiny

pytestmark = pytest.mark.slow
GIVEN = tiny.inputs(Path())  # of stages without parents


@lru_cache(maxsize=1)
def wanted(number: int) -> Course:
    return parity.by_torch(CASES[number].stage, GIVEN)


@lru_cache(maxsize=1)
def noisy(number: int) -> float:
    """The largest difference in any loss that a case's noise makes on the torch engine itself."""
    return parity.noisy(CASES[number], GIVEN, wanted(number))


def often(case: Case, where: Layout) -> bool:
    """Not where ranks of one kind divide another model than Llama: with ranks of two kinds it is divided so too. And
    not pairs on four ranks, which test_preference.py has.
    """
    one = where.parallel
    kinds = (where.ranks // one.ranks_of_a_model, one.tp, one.cp, one.pp, one.vpp, one.ep)
    one_kind = case.name != "Llama" and sum(size > 1 for size in kinds) == 1
    return not one_kind and not (case.name.endswith("preferences") and where.ranks == 4)


ROWS = [
    pytest.param(
        number, case, where, id=f"{case.name}: {where}", marks=() if often(case, where) else pytest.mark.nightly
    )
    for number, case in enumerate(CASES)
    for where in case.layouts
]


@pytest.mark.parametrize(("number", "case", "where"), ROWS)
def test_losses_gradients_and_weights_are_the_torch_engines(
    number: int, case: Case, where: Layout, tmp_path: Path
) -> None:
    found = parity.measured(case.stage, where, tmp_path)
    assert len(found.losses) == parity.STEPS
    assert found.losses[-1] < found.losses[0]
    far = parity.difference(found, wanted(number))
    assert far.within(case.figures), far
    assert not case.noise or far.losses <= 2 * noisy(number), (far, noisy(number))
