"""Two runs compared, on figures that are written out: what counts as equal, and how far apart they are."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from stages.diff import runs
from stages.diff.runs import Column, Runs
from tests.unit.report import make

EQUAL = Column("loss", None, 0.0, None, 0.0, None)
SAME = Runs(
    folders=("a", "b"), stages=("p/s", "p/s"), same_key=True, same_data=True, same_environment=True,
    environments=("e", "e"), same_weights=True,
    tiers=("bit-exact", "bit-exact"), steps=(4, 4), columns=(EQUAL,), evaluations={},
)  # fmt: skip
APART: tuple[dict[str, Any], ...] = (
    {"same_weights": False}, {"steps": (4, 3)}, {"columns": (EQUAL, Column("lr", 2, 0.1, 2, 0.5, 2))},
)  # fmt: skip


def test_equal_runs_keep_their_promise() -> None:
    assert (SAME.promised, SAME.equal, SAME.broken) == (True, True, False)


@pytest.mark.parametrize("change", APART)
def test_weights_steps_and_every_column_count(change: dict[str, Any]) -> None:
    found = replace(SAME, **change)
    assert (found.promised, found.equal, found.broken) == (True, False, True)


@pytest.mark.parametrize(
    "change", [{"same_key": False}, {"same_environment": False}, {"tiers": ("bit-exact", "same-order")}]
)
def test_equal_bits_are_promised_by_one_key_one_environment_and_both_tiers(change: dict[str, Any]) -> None:
    found = replace(SAME, **change, **APART[0])
    assert (found.promised, found.equal, found.broken) == (False, False, False)


def rows(*losses: float) -> list[dict[str, str]]:
    return [{"loss": repr(loss)} for loss in losses]


def test_the_largest_difference_and_the_largest_for_its_size_may_be_two() -> None:
    """Relative to the larger of both; steps that only one has are not compared."""
    found = runs._column("loss", rows(5.0, 10.0, 0.5, 7.0), rows(5.0, 11.0, 1.0))
    assert found == Column("loss", first=2, largest=1.0, largest_step=2, relative=0.5, relative_step=3)
    swapped = runs._column("loss", rows(5.0, 11.0, 1.0), rows(5.0, 10.0, 0.5, 7.0))
    assert swapped == found


def test_weights_are_the_models_files_alone() -> None:
    shards = [SimpleNamespace(file=file, blake3=file[0]) for file in ("model/llm/a", "state/optimizer", "metrics.csv")]
    result: Any = SimpleNamespace(manifest=SimpleNamespace(shards=shards))
    assert runs._weights(result) == {"model/llm/a": "m"}


def test_the_order_of_data_is_another_with_another_seed_share_mask_or_source() -> None:
    phase = make.phase(4096)
    stage = make.stage("warmup", "Warmup", phases=[phase])
    share = phase.model_copy(update={"document_mask": not phase.document_mask})
    ramp = phase.model_copy(update={"share": {"first": (0, 1), "last": (1, 2), "over": 20}})
    others = [
        stage.model_copy(update={"seed": stage.seed + 1}),
        *(stage.model_copy(update={"phases": (one,)}) for one in (share, ramp)),
    ]
    assert all(runs.order(one) != runs.order(stage) for one in others)
