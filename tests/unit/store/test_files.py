"""Writes, renames and removals: what each leaves behind, and in which order the disk is asked."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stages.store import files, here
from stages.store.digest import BLOCK, Written, digest_bytes, digest_file, measure
from stages.store.disk import Disk
from tests.unit.store.watched import Watched


def refuse(code: int) -> Callable[..., None]:
    def refused(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    return refused


def test_a_disk_that_takes_little_at_once_gets_all_of_it(tmp_path: Path, disk: Watched) -> None:
    disk.most = 7
    made = files.write(tmp_path / "a", bytes(range(100)))
    assert (tmp_path / "a").read_bytes() == bytes(range(100))
    assert made == Written(100, digest_bytes(bytes(range(100)))) == measure(tmp_path / "a")


@pytest.mark.parametrize("size", [0, 1, files.SMALL, files.SMALL + 1, BLOCK, BLOCK + 1, 2 * BLOCK + 3])
def test_size_and_digest_are_those_of_the_bytes_at_every_border(size: int, tmp_path: Path) -> None:
    data = os.urandom(size)
    assert files.write(tmp_path / "a", data) == Written(size, digest_bytes(data)) == measure(tmp_path / "a")
    assert digest_file(tmp_path / "a") == digest_bytes(data)


@pytest.mark.parametrize("write", [files.write, files.write_atomic])
def test_blocks_are_written_one_after_the_other(write: Callable[..., object], tmp_path: Path) -> None:
    """And none is asked for before the one ahead of it was used: a caller may reuse its memory."""
    buffer, data = bytearray(files.SMALL + 1), b""

    def blocks() -> Iterator[memoryview]:
        nonlocal data
        for number in range(5):
            size = files.SMALL + number % 2
            buffer[:size] = bytes([number]) * size
            data += bytes(buffer[:size])
            yield memoryview(buffer)[:size]

    with files.recording() as written:
        write(tmp_path / "a", blocks())
    assert (tmp_path / "a").read_bytes() == data
    assert written == {tmp_path / "a": Written(len(data), digest_bytes(data))}


def test_a_folder_that_cannot_be_made_is_told_of_by_its_own_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mkdir = files.disk.mkdir
    monkeypatch.setattr(files.disk, "mkdir", lambda path: mkdir(path) if path.name == "a" else refuse(errno.EIO)())
    with pytest.raises(files.WriteError, match=r"/a/b: cannot be written \(Input/output error\)"):
        files.make_dirs(tmp_path / "a" / "b" / "c")


def test_a_folder_that_another_process_makes_meanwhile_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mkdir = files.disk.mkdir

    def made_twice(path: Path) -> None:
        mkdir(path)
        mkdir(path)

    monkeypatch.setattr(files.disk, "mkdir", made_twice)
    files.make_dirs(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def test_a_file_is_flushed_before_it_gets_its_name_and_the_name_after(tmp_path: Path, disk: Watched) -> None:
    files.write_atomic(tmp_path / "new" / "a", b"1")
    temporary = f".a.{here.process()}.tmp"
    assert disk.asked == [
        ("mkdir", "new"),
        ("open", tmp_path.name), ("fsync", tmp_path.name),
        ("create", temporary), ("fsync", temporary),
        ("rename", "a"),
        ("open", "new"), ("fsync", "new"),
    ]  # fmt: skip


def test_a_rename_flushes_the_folder_that_gains_the_name_before_the_one_that_loses_it(
    tmp_path: Path, disk: Watched
) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    (tmp_path / "here/a").touch()
    files.rename(tmp_path / "here/a", tmp_path / "there/a")
    assert disk.flushed() == ["there", "here"]
    files.rename(tmp_path / "there/a", tmp_path / "there/b")
    assert disk.flushed() == ["there", "here", "there"]


def test_what_is_appended_is_flushed(tmp_path: Path, disk: Watched) -> None:
    (tmp_path / "log").write_bytes(b"one\n")
    files.append(tmp_path / "log", b"two\n")
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\n"
    assert disk.flushed() == ["log"]


def test_a_file_that_grows_is_known_by_all_its_pieces(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_bytes(b"of an earlier run")
    with files.recording() as written:
        growing = files.Growing(path)
        assert (written[path], path.read_bytes()) == (Written(0, digest_bytes(b"")), b"")
        for piece in (b"one\n", b"two\n"):
            growing.add(piece)
    assert written == {path: Written(8, digest_bytes(b"one\ntwo\n"))} == {path: measure(path)}


def test_only_the_innermost_block_collects(tmp_path: Path) -> None:
    with files.recording() as outer:
        files.write(tmp_path / "a", b"1")
        with files.recording() as inner:
            files.write(tmp_path / "b", b"2")
            files.write_atomic(tmp_path / "c", b"3")
        files.write(tmp_path / "d", b"4")
    files.write(tmp_path / "e", b"5")
    assert [path.name for path in outer] == ["a", "d"]
    assert {path.name: made for path, made in inner.items()} == {
        "b": Written(1, digest_bytes(b"2")), "c": Written(1, digest_bytes(b"3")),
    }  # fmt: skip


def test_a_refusal_names_the_file_the_reason_and_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files.disk, "fsync", refuse(errno.ENOSPC))
    with pytest.raises(files.WriteError) as caught:
        files.write(tmp_path / "a", b"1")
    assert str(caught.value) == (
        f"{tmp_path / 'a'}: cannot be written (No space left on device). Nothing finished has been changed. Make room "
        "(`df -h`, and `df -i` for the number of files; `quota -s` for a quota), and give the same command: a stage "
        "goes on from its last checkpoint, a corpus from what is encoded of it."
    )
    with pytest.raises(files.WriteError, match="a: cannot be written \\(odd\\)"), files.failing(tmp_path / "a"):
        raise OSError("odd")  # one without a number has no name of its own
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_no_waiting_makes_free_is_said_to_be_taken(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    for name, advice in (("folder", "Something else is in its place"), ("loop/a", "or its path leads nowhere")):
        with pytest.raises(files.WriteError, match=advice) as caught:
            files.write(tmp_path / name, b"1")
        assert "Once the disk takes writes again" not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.ENOSPC, "Make room (`df -h`, and `df -i`"),
        (errno.EDQUOT, "`quota -s` for a quota"),
        (errno.EFBIG, "a limit (`ulimit -f`)"),
        (errno.EACCES, "Make it and its directory writable for this user"),
        (errno.ENOLCK, "Its file system has no locks"),
    ],
)
def test_what_to_do_follows_from_what_the_disk_says(code: int, advice: str, tmp_path: Path) -> None:
    with pytest.raises(files.WriteError, match=re.escape(advice)), files.failing(tmp_path):
        refuse(code)()


@pytest.mark.parametrize("write", [files.write, files.write_atomic])
def test_a_disk_that_neither_flushes_nor_removes_is_told_of_by_its_first_error(
    write: Callable[[Path, bytes], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files.disk, "fsync", refuse(errno.ENOSPC))
    monkeypatch.setattr(files.disk, "unlink", refuse(errno.EIO))
    with pytest.raises(files.WriteError, match=r"/a: cannot be written \(No space left on device\)"):
        write(tmp_path / "a", b"1")


def test_a_piece_that_does_not_fit_is_told_of_by_the_files_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    growing = files.Growing(tmp_path / "metrics.csv")
    monkeypatch.setattr(files.disk, "write", refuse(errno.ENOSPC))
    with pytest.raises(files.WriteError, match=r"metrics\.csv: cannot be written \(No space left on device\)"):
        growing.add(b"one\n")


def test_the_system_is_advised_to_begin_writing_and_may_refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, ...]] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda *words: asked.append(words))
    Disk().begin(7, 100, 20)
    assert asked == [(7, 100, 20, os.POSIX_FADV_DONTNEED)]
    monkeypatch.setattr(os, "posix_fadvise", refuse(errno.ESPIPE))  # a pipe, or a file system without it
    Disk().begin(7, 100, 20)
    monkeypatch.delattr(os, "posix_fadvise")  # as on macOS
    Disk().begin(7, 100, 20)


def test_new_files_may_be_read_by_others_as_the_umask_says(tmp_path: Path) -> None:
    """And a handle is never handed on to a process that is started meanwhile."""
    mask = os.umask(0o020)
    try:
        for opened in (Disk().create(tmp_path / "a"), Disk().append(tmp_path / "b"), Disk().open(tmp_path / "a")):
            assert not os.get_inheritable(opened)
            os.close(opened)
    finally:
        os.umask(mask)
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in "ab"} == {0o646}


def test_a_file_is_emptied_unless_it_has_to_be_new(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(FileExistsError):
        Disk().create(tmp_path / "a", exclusive=True)
    assert (tmp_path / "a").read_bytes() == b"old"
    os.close(Disk().create(tmp_path / "a"))
    assert (tmp_path / "a").read_bytes() == b""


def test_two_containers_in_which_a_process_has_one_number_write_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are process 7 of a host of one name, and one of them is at work while the other is between two calls."""

    class Between(Disk):
        def rename(self, source: Path, target: Path) -> None:
            with pytest.MonkeyPatch.context() as there:
                there.setattr(files, "disk", Disk())
                there.setattr(here, "pid_namespace", lambda: "another")
                files.write_atomic(target, b"the other's")
            super().rename(source, target)

    monkeypatch.setattr(files, "disk", Between())
    files.write_atomic(tmp_path / "a", b"mine")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"mine"}


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "write",
    [lambda path: files.write(path, b"1"), lambda path: files.append(path, b"1"), files.fsync_file],
    ids=["write", "append", "flush"],
)
def test_a_pipe_in_a_files_place_is_refused_and_not_waited_for(write: Callable[[Path], object], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a")
    with pytest.raises((files.WriteError, OSError), match=r"No such device or address|Invalid argument"):
        write(tmp_path / "a")
