"""Which Python a stage's ranks run under, and what a user without one reads for the NeMo engine."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from stages import engines
from stages.cluster.nemo import Nemo
from stages.engines import interpreter
from stages.errors import UserError
from stages.spec.resolved import Stage
from stages.spec.resolved_parallel import Parallel
from tests.unit.train import tiny

ALONE = Parallel(
    tp=1, pp=1, cp=1, ep=1, vpp=1, sequence_parallel=False, distributed_optimizer=False, recompute="none"
)  # fmt: skip


def on_nemo() -> Stage:
    stage = tiny.make("next_token")
    execution = stage.execution.model_copy(update={"engine": "nemo", "parallel": ALONE})
    return stage.model_copy(update={"execution": execution, "engine_class": "nemo-fp32"})


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Code in a folder without environments, under a Python without Megatron."""
    monkeypatch.setattr(interpreter, "CODE", tmp_path)
    monkeypatch.setattr(interpreter, "has_megatron", lambda: False)
    return tmp_path


def test_the_torch_engine_runs_under_this_python(code: Path) -> None:
    assert interpreter.command(tiny.make("next_token"), Nemo(), in_job=False) == [sys.executable]


def test_a_python_that_has_megatron_is_taken_as_it_is(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreter, "has_megatron", lambda: True)
    assert interpreter.command(on_nemo(), Nemo(), in_job=False) == [sys.executable]


def test_nemo_runs_under_its_own_environment_with_the_same_code(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = code / ".venv-nemo/bin/python"
    python.parent.mkdir(parents=True)
    python.touch()
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    assert interpreter.command(on_nemo(), Nemo(), in_job=False) == ["env", f"PYTHONPATH={code}:/elsewhere", str(python)]


def test_without_one_a_run_says_what_to_type_and_leaves_nothing(code: Path, tmp_path: Path) -> None:
    given = tiny.inputs(tmp_path / "project")
    with pytest.raises(UserError, match=r"tiny/box: engine nemo needs Megatron-Bridge.*Run `make nemo` in"):
        engines.run(on_nemo(), given)
    assert not (tmp_path / "project").exists()
