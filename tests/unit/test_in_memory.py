"""Tests write into memory only where it is large enough and programs can be executed from it."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from tests.in_memory import NEEDED, fit


@pytest.fixture(autouse=True)
def _large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=NEEDED))
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_bavail=NEEDED, f_frsize=1, f_flag=0))


def limit(folder: Path, text: str) -> tuple[str, ...]:
    (folder / "memory.max").write_text(text)
    return (str(folder / "memory.max"), str(folder / "not there"))


@pytest.mark.parametrize(("text", "fits"), [("max\n", True), (f"{NEEDED}\n", True), (f"{NEEDED - 1}\n", False)])
def test_a_containers_limit_counts(tmp_path: Path, text: str, fits: bool) -> None:
    assert fit(tmp_path, limit(tmp_path, text)) == fits


@pytest.mark.parametrize("changed", [{"f_bavail": 64 * 2**20}, {"f_flag": os.ST_NOEXEC}])
def test_a_small_place_and_one_without_programs_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, int]
) -> None:
    there = {"f_bavail": NEEDED, "f_frsize": 1, "f_flag": 0} | changed
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(**there))
    assert not fit(tmp_path, ())


def test_memory_that_others_use_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=NEEDED - 1))
    assert not fit(tmp_path, ())


def test_a_system_without_shared_memory_has_none(tmp_path: Path) -> None:
    assert not fit(tmp_path / "shm", ())
