"""A finished result of the NeMo engine is evaluated again by its ranks; any other in the process that is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stages import engines
from stages.engines import evaluation, launch, rank
from stages.spec.resolved import Stage
from stages.spec.resolved_parallel import Parallel
from tests.unit.train import tiny

HOW = Parallel(tp=1, pp=1, cp=1, ep=1, vpp=1, sequence_parallel=False, distributed_optimizer=False, recompute="none")


def stage(engine: str, *names: str) -> Stage:
    found = tiny.make("next_token")
    execution = found.execution.model_copy(update={"engine": engine, "parallel": HOW if engine == "nemo" else None})
    asked = found.evaluation.model_copy(update={"names": names})
    return found.model_copy(update={"execution": execution, "evaluation": asked})


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(launch, "start", lambda *_, again: found.append(f"ranks, again {again}"))
    monkeypatch.setattr(evaluation, "again", lambda *_: found.append("here"))
    return found


@pytest.mark.parametrize(
    ("engine", "names", "by"),
    [
        ("nemo", ("validation_loss",), "ranks, again True"),
        ("nemo", (), "here"),  # something was dropped, and nothing is computed
        ("torch", ("validation_loss",), "here"),
    ],
)
def test_who_evaluates(engine: str, names: tuple[str, ...], by: str, called: list[str], tmp_path: Path) -> None:
    engines.evaluate(stage(engine, *names), tiny.inputs(tmp_path))
    assert called == [by]


@pytest.mark.parametrize(("words", "asked"), [((), "run"), ((launch.AGAIN,), "evaluate")])
def test_a_rank_is_told_what_to_do(
    words: tuple[str, ...], asked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Any] = []
    for name in ("run", "evaluate"):
        monkeypatch.setattr(engines, name, lambda *given, name=name: found.append((name, *given)))
    one, inputs = stage("nemo", "validation_loss"), tiny.inputs(tmp_path)
    (tmp_path / "job").write_text(launch.write_job(one, inputs))
    assert rank.main(str(tmp_path / "job"), *words) == 0
    ((name, told, _),) = found
    assert (name, told) == (asked, one)
