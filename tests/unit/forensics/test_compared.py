"""What a replay compares, on rows and tensors that are written out."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from stages.errors import UserError
from stages.forensics import replay
from stages.forensics.replay import Cell, _Compared, _ComparedSums, _unequal
from stages.store.run_record import MadeBy
from stages.train.stopping import StopRequest
from tests.unit.train import tiny

STAGE = tiny.make("next_token")


class Recorded:
    """Three rows of metrics.csv, and the checksums of the second."""

    def row(self, step: int) -> dict[str, str]:
        return {"phase": "main", "step": str(step), "loss": f"{step}.5"}

    def checksums(self, first: int, last: int) -> dict[int, dict[str, str]]:
        return {2: {"rows": "a", "llm.w": "b"}}


def compared() -> _Compared:
    recorded: Any = Recorded()
    return _Compared(("phase", "step", "loss"), recorded, (1, 3), StopRequest())


def test_a_column_that_only_one_side_has_or_that_differs_ends_the_replay_there() -> None:
    found = compared()
    found.add({"phase": "other", "step": 1, "loss": 1.5})
    assert (found.step, found.stop.requested) == (None, False), "a phase's name is in no key"
    found.columns = (*found.columns, "skipped")
    found.add({"phase": "main", "step": 2, "loss": 2.25, "skipped": 1})
    assert (found.step, found.stop.requested) == (2, True)
    assert found.cells == (Cell("loss", "2.5", "2.25"), Cell("skipped", "", "1"))
    found.add({"phase": "main", "step": 3, "loss": 9.0})
    assert (found.step, found.reached, found.at_last) == (2, 3, True), "the first one counts"


def test_checksums_are_those_of_the_step_that_was_just_made() -> None:
    sums = _ComparedSums({2: {"rows": "a", "llm.w": "b"}})
    sums.add({"step": 1, "rows": "x"})
    assert sums.of(1) is None, "nothing is recorded of it"
    sums.add({"step": 2, "rows": "a", "llm.w": "c", "llm.new": "d"})
    assert (sums.of(2), sums.of(3), sums.summed) == (("llm.w",), None, 1)


def test_a_step_that_is_no_number_where_one_is_recorded_differs_in_its_loss() -> None:
    found = compared()
    found.failed(2)
    assert (found.step, found.reached, found.cells) == (2, 2, (Cell("loss", "2.5", "not finite"),))


def test_tensors_are_compared_bit_by_bit_and_by_name() -> None:
    nan, other = torch.tensor([float("nan")]), torch.tensor([1.0])
    now = {"same": other, "nan": nan, "zero": torch.tensor([0.0]), "new": other}
    then = {"same": other.clone(), "nan": nan.clone(), "zero": torch.tensor([-0.0]), "old": other}
    assert list(_unequal(now, then)) == ["new", "old", "zero"]


@pytest.mark.parametrize(("tier", "engine"), [("same-order", "torch"), ("bit-exact", "nemo"), ("statistical", "nemo")])
def test_equal_bits_are_promised_by_the_torch_engines_bit_exact_tier_alone(tier: str, engine: Any) -> None:
    made = STAGE.model_copy(update={"execution": STAGE.execution.model_copy(update={"engine": engine})})
    with pytest.raises(UserError, match=f"found tier {tier} and the {engine} engine; allowed: tier bit-exact"):
        replay.refuse(made, tier)
    replay.refuse(STAGE, "bit-exact")


def test_steps_of_another_environment_are_refused_by_its_name() -> None:
    for words, said in (("", "e" * 16), ("e (Python 3.10.1, torch 2.0)", r"e \(Python 3.10.1, torch 2.0\)")):
        makers = [MadeBy(code="1", environment="e" * 16, words=words)]
        match = rf"it was computed in the environment {said}, this is [0-9a-f]{{16}} \(Python 3\.\d+\.\d+, torch "
        with pytest.raises(UserError, match=match):
            replay.refuse_elsewhere(STAGE, makers, torch.device("cpu"))
    replay.refuse_elsewhere(STAGE, [], torch.device("cpu"))
