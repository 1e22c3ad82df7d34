"""`make device-rehearsal`: every section runs on a CPU, on sizes that take a second; what fails in one is a row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.device import __main__ as device
from benchmarks.device import fused, loss, record, training
from benchmarks.device.rows import Row, Rows, read
from benchmarks.device.sections import SECTIONS, Size, chosen
from tests.unit.device.test_rehearsal import command


def rehearsed(page: Path, *words: str) -> list[str]:
    """The titles of a rehearsal in which nothing failed, and which left the record as it was."""
    before = device.RECORD.read_bytes() if device.RECORD.exists() else None
    done = command("--dry", "--out", str(page), *words)
    assert done.returncode == 0, done.stdout[-4000:]
    lines = page.read_text(encoding="utf-8").splitlines()
    assert any(record.REHEARSED in line for line in lines)
    assert [line for line in lines if "failed:" in line] == []
    assert (device.RECORD.read_bytes() if device.RECORD.exists() else None) == before
    return [line.removeprefix("## ") for line in lines if line.startswith("## ")]


@pytest.mark.slow
def test_what_is_timed_runs_on_a_cpu(tmp_path: Path) -> None:
    timed = [section for section in SECTIONS if section.timed]
    titles = rehearsed(tmp_path / "page.md", "--only", *(section.name for section in timed))
    assert titles == [section.title for section in timed]


@pytest.mark.nightly
def test_every_section_runs_on_a_cpu(tmp_path: Path) -> None:
    assert rehearsed(tmp_path / "page.md") == [section.title for section in chosen(SECTIONS, ())]


def fail(*_: Any, **__: Any) -> Any:
    raise RuntimeError("planted")


def found(section: Any, folder: Path) -> list[Row]:
    """The rows of a section rehearsed in this process."""
    section.run(Size("cpu"), Rows(folder / "rows"))
    return read(folder / "rows")


def test_a_loss_that_fails_leaves_the_other_rows_of_its_section(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss.ops, "head_loss", fail)
    monkeypatch.setattr(loss, "OTHERS", (8,))
    first, other, _ = found(loss, tmp_path)
    assert first.failed
    assert "planted" in first.ours
    assert (other.failed, other.beside) == (False, "none: as it is, it failed")
    assert other.ours.endswith(" s")


def test_a_compiler_that_fails_leaves_ours_beside_torchs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda *_, **__: fail)
    rows = found(fused, tmp_path)
    assert not any(row.failed for row in rows)
    assert [row.beside.startswith("none: torch.compile: RuntimeError: planted") for row in rows] == [False, True] * 4


def test_an_alternative_that_computes_something_else_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", lambda form, **_: lambda *inputs: form(*inputs) * 2)
    assert [row.failed for row in found(fused, tmp_path)] == [False, True] * 4


def test_a_plan_that_fails_leaves_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "CPU", training.CPU[:1])
    monkeypatch.setattr(training, "predicted", fail)
    monkeypatch.setattr(training.hf, "train", fail)
    monkeypatch.setattr(training.titan, "train", fail)
    rows = found(training, tmp_path)
    assert [(row.what, row.failed) for row in rows if "tokens/s" in row.ours or row.failed] == [
        ("tiny, exact", False), ("tiny, fast", False), ("tiny: as planned", True), ("tiny, exact", False),
        ("tiny, fast", False),
    ]  # fmt: skip
