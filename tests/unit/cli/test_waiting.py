"""Another run of a stage is waited for, with a word about who it is."""

from __future__ import annotations

import os
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stages.commands import run, waiting
from stages.store import finish, lease, manifest, same_key


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


def test_a_run_that_has_the_lock_and_is_not_seen_is_named_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One in another container of this machine: its process is not found from here, and the kernel's lock is taken."""
    verdicts = iter([False, False, False, True])
    chosen: Any = SimpleNamespace(
        layout=None, ref="p/s", key="k", stage=None, parent_keys={},
        verdict=lambda deep=False: SimpleNamespace(done=next(verdicts)),
    )  # fmt: skip
    gate: Any = SimpleNamespace(refuse=lambda ref: None)
    for where, name in (
        (manifest, "parents"), (finish, "restore"), (same_key, "take_over"), (run, "_refuse_to_begin"),
        (run, "inputs_of"), (run, "_waited"), (run.trackers, "start"),
    ):  # fmt: skip
        monkeypatch.setattr(where, name, lambda *_: None)
    monkeypatch.setattr(run, "_attended", lambda *_: nullcontext())

    def train(*_: Any) -> None:
        raise lease.HeldError("p/s is already being run by process 7 on host n1.")

    monkeypatch.setattr(run.engines, "run", train)
    monkeypatch.setattr(waiting, "POLL", 0.0)
    assert not run._make(chosen, None, gate, True, True)
    assert capsys.readouterr().err == "p/s: waiting: p/s is already being run by process 7 on host n1.\n"
