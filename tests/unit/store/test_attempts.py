"""An attempt's folder and records."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from stages.errors import UserError
from stages.store import attempts, files, lease
from stages.store.attempts import LONGEST, Finding
from stages.store.disk import Disk
from stages.store.layout import Layout
from stages.store.manifest import Parent
from tests.unit.store.conftest import A

PARENTS = {"toy/two": Parent(key="b" * 32, manifest="2" * 64), "toy/one": Parent(key="a" * 32, manifest="1" * 64)}


class StopError(UserError):
    resumable = True


class InfiniteError(UserError):
    repeats = True

    def __init__(self, message: str, step: int) -> None:
        super().__init__(message)
        self.step = step


def test_an_attempt_says_what_it_is_of_and_built_on(layout: Layout) -> None:
    with attempts.start(layout, "toy/three", A, PARENTS) as attempt:
        assert (attempt.ref, attempt.key, attempt.parents) == ("toy/three", A, PARENTS)
        assert attempt.folder == layout.run(A) / "attempt-0001"
        assert attempt.result == attempt.folder / "result"
        assert attempt.result.is_dir()
        written = files.write(attempt.result / "w", b"1")
    assert attempt.written[attempt.result / "w"] == written
    assert json.loads((attempt.folder / "attempt.json").read_text()) == {
        "ref": "toy/three", "scale": "mini", "parents": {name: parent.model_dump() for name, parent in PARENTS.items()},
    }  # fmt: skip
    assert attempts.built_on(attempt.folder) == PARENTS
    assert attempts.finding(attempt.folder) is None


@pytest.mark.parametrize(
    ("error", "finding"),
    [
        (UserError("no"), Finding("no", None, stopped=False, repeats=False)),
        (StopError("later"), Finding("later", None, stopped=True, repeats=False)),
        (InfiniteError("loss", 27), Finding("loss", 27, stopped=False, repeats=True)),
        (ZeroDivisionError("once"), Finding("ZeroDivisionError: once", None, stopped=False, repeats=False)),
    ],
)
def test_what_ends_an_attempt_is_its_finding(error: Exception, finding: Finding, layout: Layout) -> None:
    with pytest.raises(type(error)), attempts.start(layout, "toy/one", A, {}) as attempt:
        raise error
    assert attempts.finding(attempt.folder) == finding


class Full(Disk):
    """A disk that has no space but what is removed from it."""

    free = 0

    def write(self, handle: int, data: memoryview) -> int:
        if len(data) > self.free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(handle, data)

    def unlink(self, path: Path) -> None:
        self.free += path.stat().st_size
        super().unlink(path)


def test_why_an_attempt_ended_is_found_also_where_the_disk_is_full(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its end would look like that of a run which was killed for lack of memory."""
    full = pytest.raises(files.WriteError, match="No space left")
    with full as found, attempts.start(layout, "toy/one", A, {}) as attempt:
        monkeypatch.setattr(files, "disk", Full())
        files.write(attempt.result / "w", b"1")
    assert attempts.finding(attempt.folder) == Finding(str(found.value), None)
    assert sorted(path.name for path in attempt.folder.iterdir()) == ["attempt.json", "finding.json", "result"]


def test_a_disk_that_takes_no_finding_hides_no_error(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: attempts.Attempt, error: Exception) -> None:
        raise files.WriteError("full")

    monkeypatch.setattr(attempts.Attempt, "fail", refuse)
    with pytest.raises(ZeroDivisionError, match="once"), attempts.start(layout, "toy/one", A, {}):
        raise ZeroDivisionError("once")


def test_a_finding_is_cut_to_what_can_be_shown_and_one_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    (tmp_path / "finding.json").write_text(json.dumps({"message": "x" * (LONGEST + 1), "step": None}))
    assert attempts.finding(tmp_path) == Finding("x" * LONGEST, None)
    (tmp_path / "finding.json").write_text('{"message": "x", "step": -1}')
    assert attempts.finding(tmp_path) == Finding(
        f"ended, and why cannot be read: {tmp_path / 'finding.json'}: step: expected at least 0",
        None, stopped=False, repeats=False,
    )  # fmt: skip


def test_the_newest_attempt_is_the_first_and_links_files_and_other_names_are_none(layout: Layout) -> None:
    for _ in range(2):
        with attempts.start(layout, "toy/one", A, {}):
            pass
    run = layout.run(A)
    (run / "attempt-0003").symlink_to(run / "attempt-0001")
    (run / "attempt-0009").write_bytes(b"")
    for name in ("attempt-5", "attempt-00006", "attempt-000x", "attempt-0007.tmp"):
        (run / name).mkdir()
    assert [folder.name for folder in attempts.folders(layout, A)] == ["attempt-0002", "attempt-0001"]
    with attempts.start(layout, "toy/one", A, {}) as attempt:
        assert attempt.folder.name == "attempt-0010", "a number is used once, whatever has it"


def test_the_ten_thousandth_attempt_is_newer_than_those_before_it(layout: Layout) -> None:
    (layout.run(A) / "attempt-9999").mkdir(parents=True)
    for _ in range(2):
        with attempts.start(layout, "toy/one", A, {}):
            pass
    assert [folder.name for folder in attempts.folders(layout, A)] == ["attempt-10001", "attempt-10000", "attempt-9999"]


def test_a_run_whose_folder_was_moved_makes_no_other_in_its_place(layout: Layout) -> None:
    """A folder that is there again would take what is moved back into itself."""
    gone = pytest.raises(lease.LeaseError, match="was moved or removed while this run wrote there")
    with gone, attempts.start(layout, "toy/one", A, {}) as attempt:
        layout.results.rename(layout.root / "moved")
        attempt.check()
    assert not layout.results.exists()


def test_of_two_processes_only_one_gets_a_number(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    mkdir = files.disk.mkdir
    first: list[Path] = []

    def slower(path: Path) -> None:
        if path.name == "attempt-0001" and not first:
            first.append(path)
            mkdir(path)  # the other's
        mkdir(path)

    monkeypatch.setattr(files.disk, "mkdir", slower)
    with attempts.start(layout, "toy/one", A, {}) as attempt:
        assert attempt.folder.name == "attempt-0002"


def test_a_disk_that_makes_no_folder_is_told_of_by_its_name(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    mkdir = files.disk.mkdir

    def refuse(path: Path) -> None:
        if path.name.startswith("attempt-"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        mkdir(path)

    monkeypatch.setattr(files.disk, "mkdir", refuse)
    with (
        pytest.raises(files.WriteError, match=r"attempt-0001: cannot be written \(No space left on device\)"),
        attempts.start(layout, "toy/one", A, {}),
    ):
        raise AssertionError("began without a folder")


def test_a_record_that_cannot_be_read_is_that_of_no_parents(tmp_path: Path) -> None:
    assert attempts.built_on(tmp_path) is None
    for text in (
        "{",
        '{"ref": "a/b"}',
        '{"ref": 1, "parents": {}}',
        '{"ref": "a/b", "parents": {"c/d": {"key": "1"}}}',
    ):
        (tmp_path / "attempt.json").write_text(text)
        assert attempts.built_on(tmp_path) is None
