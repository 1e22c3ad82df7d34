"""Folders with all that is in them: flushed, moved, replaced, removed and listed."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.store import files, trees
from tests.unit.store.test_files import refuse
from tests.unit.store.watched import Watched


def test_a_tree_is_flushed_from_the_inside_out(tmp_path: Path, disk: Watched) -> None:
    files.write(tmp_path / "a", b"")
    (tmp_path / "inner").mkdir()
    files.write(tmp_path / "inner/b", b"")
    disk.asked.clear()
    trees.fsync_tree(tmp_path)
    assert disk.flushed() == ["a", "b", "inner", tmp_path.name]


def test_what_another_process_removes_meanwhile_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()

    def gone(folder: Path) -> None:
        folder.rmdir()
        raise FileNotFoundError(folder)

    monkeypatch.setattr(files.disk, "rmdir", gone)
    trees.remove_tree(tmp_path / "a")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(("code", "told"), [(errno.ENOTEMPTY, False), (errno.EEXIST, False), (errno.EIO, True)])
def test_a_place_that_is_taken_is_no_error_and_a_broken_disk_is_one(
    code: int, told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "new").mkdir()
    monkeypatch.setattr(files.disk, "rename", refuse(code))
    if told:
        with pytest.raises(OSError, match="Input/output error"):
            trees.moved(tmp_path / "new", tmp_path / "there")
    else:
        assert not trees.moved(tmp_path / "new", tmp_path / "there")


def test_what_has_been_moved_away_meanwhile_is_no_error_and_a_target_without_a_folder_is_one(tmp_path: Path) -> None:
    assert not trees.moved(tmp_path / "gone", tmp_path / "there")
    (tmp_path / "new").mkdir()
    with pytest.raises(FileNotFoundError):
        trees.moved(tmp_path / "new", tmp_path / "no folder" / "there")
    assert trees.moved(tmp_path / "new", tmp_path / "there")


def test_a_folder_takes_the_place_of_another_and_leaves_nothing_of_it(tmp_path: Path) -> None:
    for name in ("new.tmp", "there", "new.old"):  # the last is what a killed process left
        files.write_atomic(tmp_path / name / "a", name.encode())
    trees.replace_folder(tmp_path / "new.tmp", tmp_path / "there")
    assert list(trees.files_under(tmp_path)) == ["there/a"]
    assert (tmp_path / "there/a").read_bytes() == b"new.tmp"
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_while_a_folder_takes_the_place_of_another_there_is_none_or_a_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cut may come before every removal."""
    for name in ("new.tmp", "there"):
        for file in ("a", "b"):
            files.write_atomic(tmp_path / name / file, name.encode())
    seen, unlink = list[list[str]](), files.disk.unlink

    def watched(path: Path) -> None:
        seen.append([one.read_text() for one in sorted((tmp_path / "there").glob("*"))])
        unlink(path)

    monkeypatch.setattr(files.disk, "unlink", watched)
    trees.replace_folder(tmp_path / "new.tmp", tmp_path / "there")
    assert len(seen) == 2
    assert all(one in ([], ["there"] * 2, ["new.tmp"] * 2) for one in seen)


def test_a_link_inside_of_what_is_removed_goes_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    files.write_atomic(tmp_path / "kept/file", b"")
    (tmp_path / "gone/inner").mkdir(parents=True)
    for name, target in (("folder", "kept"), ("inner/file", "kept/file"), ("inner/nowhere", "nothing")):
        (tmp_path / "gone" / name).symlink_to(tmp_path / target)
    trees.remove_tree(tmp_path / "gone")
    assert list(trees.files_under(tmp_path)) == ["kept/file"]
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_files_are_named_from_the_folder_on_and_sorted(tmp_path: Path) -> None:
    for name in ("b", "a/z", "a/b/c", "A"):
        files.write_atomic(tmp_path / name, b"")
    (tmp_path / "empty").mkdir()
    assert list(trees.files_under(tmp_path)) == ["A", "a/b/c", "a/z", "b"]


def test_a_tree_that_is_not_there_is_removed_already(tmp_path: Path) -> None:
    trees.remove_tree(tmp_path / "nothing")
    files.write_atomic(tmp_path / "a/b/c", b"")
    trees.remove_tree(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in a folder, with a file in it, that this user may not list."""
    folder = tmp_path / "a/closed"
    folder.mkdir(parents=True)
    (folder / "file").write_text("x")
    scandir = os.scandir

    def refuse(path: str) -> object:
        if Path(path) == folder:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    return folder


@pytest.mark.parametrize("do", [trees.remove_tree, trees.fsync_tree, lambda folder: list(trees.files_under(folder))])
def test_a_folder_that_may_not_be_read_is_named_and_not_taken_to_be_empty(
    do: Callable[[Path], object], closed: Path
) -> None:
    with pytest.raises(PermissionError, match="Permission denied") as caught:
        do(closed.parent)
    assert caught.value.filename == str(closed)
    assert (closed / "file").is_file()


def test_a_folder_that_another_process_holds_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(path))

    monkeypatch.setattr(files.disk, "rmdir", refuse)
    (tmp_path / "a").mkdir()
    with pytest.raises(files.WriteError, match="Another process writes there"), files.failing(tmp_path / "a"):
        trees.remove_tree(tmp_path / "a")
