"""live.csv: the rows of a run as they come, which nothing that is trained depends on."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.store import files, live
from stages.store.disk import Disk
from stages.store.layout import Layout

COLUMNS = ("phase", "step", "loss", "extra")


def row(step: int, loss: float = 0.1) -> dict[str, str | int | float]:
    return {"phase": "main", "step": step, "loss": loss}


def attempt(root: Path, number: int, steps: range, loss: float = 0.1) -> Path:
    folder = Layout(root, "mini").run("a" * 32) / f"attempt-{number:04d}"
    folder.mkdir(parents=True)
    rows = live.Rows(folder)
    for step in steps:
        rows.add(COLUMNS, row(step, loss), 0.5)
    rows.flush()
    return folder


def test_rows_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    rows = live.Rows(tmp_path)
    rows.add(COLUMNS, row(1, 1 / 3), 0.25)
    assert live.read(tmp_path) == []  # kept until they are flushed
    rows.flush()
    rows.add(COLUMNS, row(2), 0.25)
    rows.flush()
    first, second = live.read(tmp_path)
    assert first == {"phase": "main", "step": "1", "loss": repr(1 / 3), "extra": "", "seconds": "0.25"}
    assert second["step"] == "2"


def test_a_row_that_is_being_written_is_not_read(tmp_path: Path) -> None:
    folder = attempt(tmp_path, 1, range(1, 3))
    with (folder / live.NAME).open("a") as file:
        file.write("main,3,0.")
    assert [one["step"] for one in live.read(folder)] == ["1", "2"]


@pytest.mark.parametrize("text", [b"", b"\xff\n", b"step\nx\n", b"a,b\n1\n", b"step,b\n1\n1,2,3\n"])
def test_a_file_that_no_run_wrote_has_no_rows(tmp_path: Path, text: bytes) -> None:
    (tmp_path / live.NAME).write_bytes(text)
    assert live.read(tmp_path) == []


def test_a_newer_attempt_replaces_the_steps_behind_the_checkpoint_that_it_went_on_from(tmp_path: Path) -> None:
    attempt(tmp_path, 1, range(1, 8), 1.0)
    attempt(tmp_path, 2, range(5, 7), 2.0)
    found = live.steps(Layout(tmp_path, "mini"), "a" * 32)
    assert [(one["step"], one["loss"]) for one in found] == [
        ("1", "1.0"), ("2", "1.0"), ("3", "1.0"), ("4", "1.0"), ("5", "2.0"), ("6", "2.0"),
    ]  # fmt: skip


def test_an_attempt_that_died_before_a_step_takes_nothing_away(tmp_path: Path) -> None:
    attempt(tmp_path, 1, range(1, 3))
    attempt(tmp_path, 2, range(0))
    assert [one["step"] for one in live.steps(Layout(tmp_path, "mini"), "a" * 32)] == ["1", "2"]


def test_a_disk_that_takes_nothing_ends_the_file_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(Disk):
        left = 60

        def write(self, handle: int, data: memoryview) -> int:
            if self.left == 0:
                raise OSError(28, "No space left on device")
            taken = super().write(handle, data[: self.left])
            self.left -= taken
            return taken

    monkeypatch.setattr(files, "disk", Full())
    rows = live.Rows(tmp_path)
    for step in range(1, 20):
        rows.add(COLUMNS, row(step), 0.5)
        rows.flush()
    monkeypatch.setattr(files, "disk", Disk())  # space again: a part of a row is at the end
    rows.add(COLUMNS, row(20), 0.5)
    rows.flush()
    assert [one["step"] for one in live.read(tmp_path)] == ["1"]
