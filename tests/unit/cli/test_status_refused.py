"""`stages status` where files may not be read, or hold what a terminal would act on."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stages.printable import CONTROL
from stages.spec.project import Project
from stages.store import json_file
from stages.store.layout import Layout
from tests.unit.cli.status_lines import said


def test_nothing_of_a_state_file_acts_on_the_terminal(
    toy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Colours are rich's; what a file of results/ holds is spelled out, also where a terminal is forced."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    folder = Layout(toy, "mini").run(Project.load(toy).keys("mini")["toy/first"]) / "attempt-0001"
    (folder / "result").mkdir(parents=True)
    message = "\x1b]0;owned\x07\x1b[2J\x9b1Aall is well"
    (folder / "finding.json").write_text(json.dumps({"message": message, "step": 3, "stopped": False}))
    text = said(capsys, code=1)
    assert r"\x1b[2J\x9b1Aall is well" in text
    assert not CONTROL.search(re.sub(r"\x1b\[[\d;]*m|\n", "", text))
    assert "\x1b[" in text, "colours are there"


def refused(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """This user may not list a folder, whoever runs the test."""
    whole = Path.iterdir

    def iterdir(path: Path) -> Iterator[Path]:
        if path == folder:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return whole(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)


def test_a_stage_whose_files_may_not_be_read_is_named_and_the_others_are_shown(
    toy: Path, runs: Callable[..., Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs("toy/first", 100)
    key = Project.load(toy).keys("mini")["toy/release"]
    run = Layout(toy, "mini").run(key)
    run.mkdir(parents=True)
    refused(monkeypatch, run)
    told = {one["stage"]: one for one in json.loads(said(capsys, 1, as_json=True))}
    assert (told["toy/first"]["state"], told["toy/release"]["state"]) == ("running", "unreadable")
    assert told["toy/release"]["why"].startswith(f"{run}: refused (Permission denied). See that this user may read")
    assert "1 unreadable, 6 missing, 1 running" in said(capsys, 1)


def test_a_corpus_that_may_not_be_read_is_not_called_damaged(
    toy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = toy / "results/mini/data/prose/manifest.json"
    path.parent.mkdir(parents=True)
    whole = json_file.read_bytes

    def read_bytes(there: Path, *limit: int) -> bytes:
        if there != path:
            return whole(there, *limit)
        raise PermissionError(errno.EACCES, "Permission denied", str(there))

    monkeypatch.setattr(json_file, "read_bytes", read_bytes)
    told = {one["stage"]: one for one in json.loads(said(capsys, 1, as_json=True))}
    assert told["data/prose"]["state"] == "unreadable"
    assert told["data/prose"]["why"].startswith(f"{path}: refused (Permission denied)")
    assert "missing" in {one["state"] for one in told.values()}
