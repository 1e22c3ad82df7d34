"""Another run of a stage is waited for, with a word about who it is."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from stages.commands import waiting
from stages.store import lease


def test_a_lease_is_waited_for_with_word_of_who_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(waiting, "POLL", 0.01)
    assert not waiting.waited("p/s", tmp_path)
    path = tmp_path / "lease.json"
    path.write_text('{"host": "n2", "pid": 1, "started": 0.0, "token": 1, "job": "6", "nodes": ["n2"]}')
    now, looks = path.stat().st_mtime + 7, []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            os.utime(path, (0, 0))  # its node died

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "time", lambda: now)
    assert waiting.waited("p/s", tmp_path)
    said = capsys.readouterr().err
    assert said.count("waiting") == 1
    assert "p/s: waiting for process 1 on host n2 (Slurm job 6 on n2), whose heartbeat is 7 s old" in said
    assert lease.holder(tmp_path) is None
