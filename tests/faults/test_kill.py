"""Killed with SIGKILL in the middle and run again: the same digests as a run that nothing disturbed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stages.engines import run, training
from stages.store import manifest
from tests.unit.train import tiny

ROOT = Path(__file__).parents[2]
STEP_STARTS = (4, 8, 12, 16, 24, 32, 40)  # first samples of the steps after the first: four steps of 4, three of 8


def kill(objective: str, root: Path, sample: int) -> int:
    """Train in a process of its own that kills itself when it reads `sample`; its exit code."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.faults.victim", objective, str(root), str(sample)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=120, check=False).returncode


def final(root: Path) -> bytes:
    """manifest.json: digests of weights, optimizer state, counters, metrics and evaluations."""
    folder = root / "results/mini/tiny/box"
    assert not manifest.verify(folder, deep=True)
    return (folder / manifest.NAME).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("objective", tiny.OBJECTIVES)
def test_killed_and_run_again_equals_undisturbed(
    objective: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "PhaseData", tiny.Data)
    run(tiny.make(objective), tiny.inputs(tmp_path / "whole"))
    sample = random.Random(objective).choice(STEP_STARTS)  # seeded by the objective's name
    assert kill(objective, tmp_path / "cut", sample) == -signal.SIGKILL
    assert not (tmp_path / "cut/results/mini/tiny/box").exists()
    run(tiny.make(objective), tiny.inputs(tmp_path / "cut"))
    assert final(tmp_path / "cut") == final(tmp_path / "whole")
