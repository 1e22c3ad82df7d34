"""The goldens of larger runs are records: results/records/<scale>.json, which `make record` writes and no test."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from stages.report.record import write
from stages.spec.project import Project
from tests.unit.report.make import ouro_like, reseeded, write_result
from tests.unit.report.test_record import README, SCALES

ROOT = Path(__file__).resolve().parents[2]
RECORDS = {
    path.stem: json.loads(path.read_text("utf-8"))
    for path in sorted((ROOT / "results/records").glob("*.json"))
    if path.stem in Project.load(ROOT).scales()
}


def holds(record: dict[str, Any]) -> None:
    """A record names what it rests on, and every figure has one value per seed."""
    assert {"scale", "seeds", "date", "commit", "environment", "run_environments", "stages", "gates"} <= set(record)
    assert len(set(record["seeds"])) == len(record["seeds"]) > 0
    assert record["environment"]["id"]
    for stage in record["stages"].values():
        columns = [
            *stage["before"].values(),
            *stage["after"].values(),
            *(stage.get(name) for name in ("steps", "seconds")),
        ]
        for values in filter(None, columns):
            assert len(values) == len(record["seeds"])
            assert all(math.isfinite(value) for value in values)
        for first, last in stage.get("train_loss", ()):
            assert math.isfinite(first)
            assert math.isfinite(last)
    assert {gate["seed"] for gate in record["gates"]} <= set(record["seeds"])


@pytest.fixture
def made(tmp_path: Path) -> dict[str, Any]:
    """A record of results made up for it."""
    (tmp_path / "README.md").write_text(README)
    for seed, scale in enumerate(SCALES, 1):
        for stage in ouro_like(scale).values():
            write_result(tmp_path, reseeded(stage, scale, seed))
    write(tmp_path, SCALES)
    return dict(json.loads((tmp_path / "results/records/mini.json").read_text()))


def test_what_make_record_writes_holds(made: dict[str, Any]) -> None:
    holds(made)
    made["seeds"] = made["seeds"][:-1]
    with pytest.raises(AssertionError):
        holds(made)


@pytest.mark.parametrize("scale", RECORDS)
def test_what_is_recorded_holds_and_is_about_stages_that_there_are(scale: str) -> None:
    record, known = RECORDS[scale], Project.load(ROOT).keys(scale)
    holds(record)
    assert record["scale"] == scale
    assert set(record["stages"]) <= set(known)
