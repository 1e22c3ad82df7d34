"""`stages spike`: what stands out is named with what it read; a noisy curve that only falls is quiet."""

from __future__ import annotations

import csv
import json
import math
import random
from pathlib import Path

import pytest

from stages.commands.batch import print_batch
from stages.commands.spike import print_spikes
from stages.forensics import spike
from stages.forensics.spike import LEAST, spikes
from tests.unit.cli.own_chats import SCALE
from tests.unit.forensics.conftest import REF


def rows(count: int, seed: int, phase: str = "main") -> list[dict[str, str]]:
    """A loss that falls from 8 to 3 and a norm around 1, with a noise of a tenth."""
    draw, out = random.Random(seed), []
    for step in range(1, count + 1):
        loss, norm = ((3 + 5 * math.exp(-step / 40)) * math.exp(draw.gauss(0, 0.1)), math.exp(draw.gauss(0, 0.1)))
        out.append({"phase": phase, "step": str(step), "loss": repr(loss), "grad_norm": repr(norm)})
    return out


@pytest.mark.parametrize("seed", range(20))
def test_a_noisy_curve_that_falls_has_no_spikes(seed: int) -> None:
    assert spikes(rows(400, seed)) == []


@pytest.mark.parametrize("column", ["loss", "grad_norm"])
@pytest.mark.parametrize("seed", range(10))
def test_a_number_three_times_the_usual_is_named_and_nothing_else(seed: int, column: str) -> None:
    made, at = rows(200, seed), random.Random(seed).randrange(LEAST, 200)
    made[at][column] = repr(3 * float(made[at][column]))
    (found,) = spikes(made)
    assert (found.step, found.column, found.value) == (at + 1, column, float(made[at][column]))
    assert found.score > spike.THRESHOLD


def test_each_phase_has_its_own_usual() -> None:
    second = [
        {**row, "loss": repr(4 * float(row["loss"])), "step": str(int(row["step"]) + 60)} for row in rows(60, 2, "b")
    ]
    assert spikes([*rows(60, 1), *second]) == []


def test_a_flat_curve_needs_more_than_a_rounding() -> None:
    made = [{"phase": "main", "step": str(step), "loss": "2.0", "grad_norm": "0.0"} for step in range(1, 60)]
    made[40]["loss"] = "2.0000001"
    assert spikes(made) == []


def test_the_documents_of_a_spike_are_printed_and_its_replay_says_whose_it_is(
    copy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spike, "LEAST", 4)
    assert print_spikes(REF, SCALE, True, None, as_json=False) == 0
    assert "0 of 8 recorded steps stand out" in capsys.readouterr().out
    path = copy / "results" / SCALE / REF / "metrics.csv"
    table = list(csv.DictReader(path.read_text().splitlines()))
    table[5]["loss"] = repr(50 * float(table[5]["loss"]))
    with path.open("w", newline="") as file:
        out = csv.DictWriter(file, list(table[0]), lineterminator="\n")
        out.writeheader()
        out.writerows(table)
    print_batch(REF, 6, SCALE, text=False, as_json=False)
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("  row    1"))
    assert print_spikes(REF, SCALE, True, None, as_json=False) == 1
    said = capsys.readouterr().out
    assert "step 6: loss" in said
    assert row in said
    assert "the machine that recorded them" in said
    assert print_spikes(REF, SCALE, False, None, as_json=True) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["step"], found["column"], found["batch"]["step"]) == (6, "loss", 6)
