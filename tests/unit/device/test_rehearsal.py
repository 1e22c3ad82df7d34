"""`make device` without a GPU: refused in a line, or rehearsed on a CPU, every section of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.device import __main__ as device
from benchmarks.device import pipelines, record
from benchmarks.device.rows import NEAR, Goal, Row, Rows, against, met, read
from benchmarks.device.sections import SECTIONS, Section
from stages.contract import ledger
from stages.spec.project import Project

ROOT = Path(__file__).resolve().parents[3]


def command(*words: str) -> subprocess.CompletedProcess[str]:
    environ = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.device", *words], cwd=ROOT, env=environ, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_in_a_line() -> None:
    done = command()
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "no GPU" in done.stderr


def test_without_a_package_it_says_so_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device.needs, "CARRIED", {"blake3_of_another_name": "blake3"})
    assert "blake3_of_another_name" in device.unfit(dry=True)


def test_a_rehearsal_does_not_write_the_record(capsys: pytest.CaptureFixture[str]) -> None:
    assert device.main(["--dry", "--out", str(device.RECORD)]) == 2
    assert "a rehearsal is no record" in capsys.readouterr().err


def test_a_measurement_that_fails_is_a_row_and_the_next_is_made(tmp_path: Path) -> None:
    rows = Rows(tmp_path / "rows")
    rows.measure("first", lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    rows.measure("second", lambda: Row("second", "", "1 s"))
    found = read(tmp_path / "rows")
    assert [(row.what, row.failed) for row in found] == [("first", True), ("second", False)]
    assert "ZeroDivisionError: division by zero" in found[0].ours


@pytest.mark.parametrize(
    ("program", "limit", "said"),
    [
        ("rows.add(Row('a', '', '1 s')); import time; time.sleep(60)", 20, "over its limit of 20 s"),
        ("rows.add(Row('a', '', '1 s')); raise SystemExit('broken')", 60, "exit code 1: broken"),
    ],
)
def test_what_a_section_measured_stays_when_it_fails(
    program: str, limit: float, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def process(command: list[str], log: Path, limit: float) -> int | None:
        text = f"from benchmarks.device.rows import *; rows = Rows(Path({command[-1]!r})); {program}"
        return original([sys.executable, "-c", text], log, limit)

    original = device.process
    monkeypatch.setattr(device, "process", process)
    found = device.run("any", "cpu", limit)
    assert [row.failed for row in found] == [False, True, False]
    assert said in found[1].ours


def test_a_section_without_time_is_a_failed_row() -> None:
    (row,) = device.run("any", "cpu", 0)
    assert row.failed


def test_a_page_says_what_failed_missed_and_was_not_run() -> None:
    slow = against("a", "b", 1.0, ("plain", 2.0), "s", (">=", 1.3))
    assert (slow.ratio, slow.goal) == ("0.500", ">= 1.3: missed")
    section, other = Section("one", "One", 1), Section("other", "Another", 1)
    text = record.page("today", ["- here"], {section: [slow, Row("c", "", "failed: x", failed=True)]}, [other], False)
    assert "2 rows, 1 failed, 1 goal missed" in text
    assert "## Not run\n\n- Another\n" in text
    assert "**failed: x**" in text
    assert record.REHEARSED not in text


@pytest.mark.parametrize(
    ("ratio", "goal", "said"),
    [(1.3, (">=", 1.3), "met"), (1.2, (">=", 1.3), "missed"), (1.2, ("<=", 1.1), "missed"), (0.85, NEAR, "missed"),
     (1.05, NEAR, "met")],
)  # fmt: skip
def test_a_goal_is_met_or_missed(ratio: float, goal: Goal, said: str) -> None:
    assert met(ratio, goal).endswith(said)


@pytest.mark.parametrize("pipeline", ["llama31_1m", "ouro", "kimi_vl"])
def test_the_pipelines_at_small_can_be_cut_to_a_few_steps(pipeline: str, tmp_path: Path) -> None:
    pipelines.shorten(tmp_path)
    for stage in Project.load(tmp_path).resolve(pipeline, pipelines.SCALE).stages.values():
        steps = [ledger.count(phase) for phase in stage.phases]
        assert all(count <= pipelines.STEPS + 1 for count in steps), (stage.name, steps)  # a ramp adds a smaller step
        assert stage.evaluation.samples == 1


@pytest.mark.slow
def test_every_section_runs_on_a_cpu(tmp_path: Path) -> None:
    before = device.RECORD.read_bytes() if device.RECORD.exists() else None
    done = command("--dry", "--out", str(tmp_path / "page.md"))
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert done.returncode == 0, done.stdout[-4000:]
    assert record.REHEARSED in text
    assert [line for line in text.splitlines() if "failed:" in line] == []
    assert [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")] == [
        section.title for section in SECTIONS
    ]
    assert (device.RECORD.read_bytes() if device.RECORD.exists() else None) == before
