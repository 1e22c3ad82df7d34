"""How far a run says that it is."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path

import pytest

from stages.store import attempts, files, progress
from stages.store.layout import Layout
from stages.store.progress import Progress
from tests.unit.store.conftest import A


def test_what_is_left_word_of_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1234.5)
    progress.write(tmp_path, "main", 30, 100, 0.25)
    assert progress.read(tmp_path) == Progress("main", 30, 100, 0.25, 1234.5)
    assert [path.name for path in tmp_path.iterdir()] == ["progress.json"]
    assert (tmp_path / "progress.json").read_text().count("\n") == 1


def test_the_rest_takes_as_long_as_the_steps_so_far() -> None:
    assert Progress("main", 30, 100, 0.25, 0.0).seconds_left == 70 * 0.25


def test_a_disk_that_refuses_ends_no_run_and_the_last_word_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    progress.write(tmp_path, "main", 1, 2, 1.0)
    for call in ("create", "write", "rename"):
        with monkeypatch.context() as patch:
            patch.setattr(files.disk, call, refuse)
            progress.write(tmp_path, "main", 2, 2, 1.0)
        found = progress.read(tmp_path)
        assert found is not None
        assert found.step == 1


def test_the_newest_attempt_tells_and_an_older_one_does_not(layout: Layout) -> None:
    assert progress.latest(layout, A) is None
    with attempts.start(layout, "toy/one", A, {}) as first:
        progress.write(first.folder, "main", 1, 2, 1.0)
    found = progress.latest(layout, A)
    assert found is not None
    assert (found.phase, found.step) == ("main", 1)
    with attempts.start(layout, "toy/one", A, {}):
        pass
    assert progress.latest(layout, A) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"step": -1}, {"step": 10**18}, {"steps": -1}, {"steps": 1.5}, {"seconds_per_step": -0.1},
        {"seconds_per_step": 1e9}, {"time": -1.0}, {"time": 1e11}, {"phase": 1},
    ],
)  # fmt: skip
def test_a_word_that_no_run_leaves_is_none(wrong: dict[str, object], tmp_path: Path) -> None:
    right = {"phase": "main", "step": 0, "steps": 0, "seconds_per_step": 0.0, "time": 0.0}
    (tmp_path / "progress.json").write_text(json.dumps(right))
    assert progress.read(tmp_path) is not None
    (tmp_path / "progress.json").write_text(json.dumps(right | wrong))
    assert progress.read(tmp_path) is None
