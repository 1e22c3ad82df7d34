"""Stopped or killed on the GPU and run again: the same bits as a run that nothing disturbed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.engines import training
from stages.errors import UserError
from tests.cuda import stages, victim
from tests.unit.train import tiny

ROOT = Path(__file__).resolve().parents[2]


class Asked(tiny.Data):
    """Asks the run to stop while it reads the third step."""

    def samples(self, first: int, count: int, tail: int) -> list[Any]:
        if first == 8:
            signal.raise_signal(signal.SIGTERM)
        return super().samples(first, count, tail)

    def pairs(self, first: int, count: int, tail: int) -> list[Any]:
        if first == 8:
            signal.raise_signal(signal.SIGTERM)
        return super().pairs(first, count, tail)


@pytest.mark.parametrize("kind", stages.KINDS)
def test_a_stage_that_was_stopped_goes_on_to_the_same_bits(
    kind: str, device: torch.device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = victim.stage(kind, device.type)
    monkeypatch.setattr(training, "PhaseData", Asked)
    with pytest.raises(UserError, match="stopped after step"):
        stages.train(made, tmp_path / "stopped")
    monkeypatch.setattr(training, "PhaseData", tiny.Data)
    resumed = stages.train(made, tmp_path / "stopped")
    whole = stages.train(made, tmp_path / "whole")
    assert not stages.differences(resumed, whole)
    assert [row[0] for row in stages.losses(resumed)] == [row[0] for row in stages.losses(whole)]


def test_a_process_that_was_killed_is_gone_on_from(device: torch.device, tmp_path: Path, made_up_data: None) -> None:
    """SIGKILL in the middle of a step: experts, vision tower and Muon in bf16."""
    command = [sys.executable, "-m", "tests.cuda.victim", str(tmp_path / "killed"), "joint", device.type]
    killed = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    made = victim.stage("joint", device.type)
    resumed, whole = (stages.train(made, tmp_path / name) for name in ("killed", "whole"))
    assert not stages.differences(resumed, whole)
