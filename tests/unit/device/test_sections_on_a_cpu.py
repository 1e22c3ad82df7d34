"""`make device-rehearsal`: every section runs on a CPU, on sizes that take a second."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.device import __main__ as device
from benchmarks.device import record
from benchmarks.device.sections import SECTIONS, chosen
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
