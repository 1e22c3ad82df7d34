"""torchtitan's rows of `make device`, on a CPU. It cannot be imported without Triton, which torch has here."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.device import needs, record, titan
from benchmarks.device.training import CPU

ROOT = Path(__file__).parents[2]
PROGRAM = """
import json, torch
from benchmarks.device import titan
from benchmarks.device.training import CPU
print(json.dumps(titan.train(CPU[0], torch.device("cpu")).seconds))
"""


@pytest.mark.slow
def test_its_trainer_takes_our_model_and_rows() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) > 0


@pytest.mark.nightly
def test_its_figures_are_beside_ours(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    command = [sys.executable, "-m", "benchmarks.device", "--dry", "--only", "training", "--out", str(page)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    lines = [line for line in page.read_text(encoding="utf-8").splitlines() if titan.NAME in line]
    assert len(lines) == 3 * len(CPU), "exact, fast, memory"
    assert record.REHEARSED in page.read_text(encoding="utf-8")
    assert not any("none:" in line for line in lines)


def test_another_model_is_refused() -> None:
    from torch import nn

    other = replace(CPU[0], model=CPU[0].model.model_copy(update={"layers": 3}))
    with pytest.raises(ValueError, match=r"torchtitan's model has 0 parameters, ours [0-9,]+"):
        titan.check(nn.Identity(), other)


def test_what_is_carried_to_a_gpu_is_what_is_tested_here() -> None:
    pins = dict(
        line.split("  #")[0].split("==")
        for line in (ROOT / "requirements-nemo.txt").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    )
    assert {name: pins[name] for name in needs.TITAN} == needs.TITAN
