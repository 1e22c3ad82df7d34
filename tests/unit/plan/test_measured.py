"""Predictions beside measurements."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from stages.contract import hardware
from stages.engines.results import peak_memory_mb
from stages.errors import UserError
from stages.plan import measured
from stages.plan.pipeline import PipelinePlan, plan_pipeline
from stages.spec.project import Project
from stages.store.layout import Layout


@pytest.fixture
def plan(project: Project) -> PipelinePlan:
    plan = plan_pipeline(project, "ouro", "mini", hardware.load(project.files, "laptop_cpu"))
    return dataclasses.replace(plan, stages=plan.stages[:2])


def write(root: Path, ref: str, seconds: float, peak: float | None) -> Path:
    place = Layout(root, "mini").stage(ref)
    place.mkdir(parents=True)
    (place / "manifest.json").write_text("{}")
    (place / "timing.csv").write_text("phase,step,seconds,tokens_per_second\n" + f"main,1,{seconds / 2},9\n" * 2)
    (place / "run.json").write_text(json.dumps({"peak_memory_mb": peak} if peak else {}))
    return place


def test_errors_are_relative_to_what_was_measured(tmp_path: Path, plan: PipelinePlan) -> None:
    stage = plan.stages[0]
    peak = stage.phases[0].memory.total / 1e6
    write(tmp_path, stage.ref, stage.seconds * 2, peak / 2)
    (found,) = measured.compare(Layout(tmp_path, "mini"), [plan])
    assert (found.time_error, found.memory_error) == pytest.approx((-0.5, 1.0))
    assert "(-50%); median error of a stage 50%\nmemory: median error of a stage 100%" in measured.summary([found])
    assert measured.as_json(found)["ref"] == stage.ref


def test_memory_that_was_not_recorded_is_said_to_be_so(tmp_path: Path, plan: PipelinePlan) -> None:
    write(tmp_path, plan.stages[0].ref, 10, None)
    found = measured.compare(Layout(tmp_path, "mini"), [plan])
    assert found[0].measured_mb is None
    assert "memory" not in measured.summary(found)
    assert list(measured.table("mini", found).columns[5].cells) == ["not recorded"]


def test_nothing_measured(tmp_path: Path, plan: PipelinePlan) -> None:
    with pytest.raises(UserError, match=r"results/mini: no finished training stage of these pipelines to measure\.$"):
        measured.compare(Layout(tmp_path, "mini"), [plan])
    write(tmp_path, plan.stages[0].ref, 10, None)
    with pytest.raises(UserError, match=r"results/paper: .* to measure\. They have results at mini: --scale\.$"):
        measured.compare(Layout(tmp_path, "paper"), [plan])


@pytest.mark.parametrize(("file", "text"), [("timing.csv", "phase,step\nmain,1\n"), ("run.json", "{")])
def test_a_damaged_file_is_named(tmp_path: Path, plan: PipelinePlan, file: str, text: str) -> None:
    place = write(tmp_path, plan.stages[0].ref, 10, None)
    (place / file).write_text(text)
    with pytest.raises(UserError, match=r"ouro/warmup: timing.csv or run.json cannot be read"):
        measured.compare(Layout(tmp_path, "mini"), [plan])


def test_what_runs_record_is_what_this_process_holds() -> None:
    held = psutil.Process().memory_info().rss / 1e6
    assert held * 0.9 < peak_memory_mb("cpu") < held + 4000


def test_the_peak_is_not_that_of_the_process_that_started_this_one() -> None:
    held = np.ones(300 << 17)  # 314 MB, which a child's getrusage would count
    code = "from stages.engines.results import peak_memory_mb; print(peak_memory_mb('cpu'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    own = peak_memory_mb("cpu")
    assert len(held)
    assert 50 < float(done.stdout) < own - 200
