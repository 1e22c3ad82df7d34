"""What may go: what is named, with how many bytes and why, and what stays."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from stages.store import attempts, files, garbage, lease, superseded
from stages.store.garbage import LINK, UNWANTED, Garbage, Wanted
from stages.store.layout import Layout
from tests.unit.store.conftest import A, Run

B, C = "b" * 32, "c" * 32
FIVE = b"12345"


def put(folder: Path) -> Path:
    """Files of five and of seven bytes, the second further in."""
    files.write_atomic(folder / "w", FIVE)
    files.write_atomic(folder / "inner/v", FIVE + b"67")
    return folder


def attempt(layout: Layout, key: str) -> Path:
    with attempts.start(layout, "toy/one", key, {}) as begun:
        return begun.folder


def test_checkpoints_of_what_is_in_place_may_go_also_half_written_ones(layout: Layout, run: Run) -> None:
    run("toy/one", A)
    folder = layout.run(A) / "attempt-0001"
    whole, half = put(folder / "partial-000000003"), put(folder / ".partial-000000006.host.7.tmp")
    put(attempt(layout, B) / "partial-000000003")
    why = "a checkpoint of a finished stage"
    assert garbage.find(layout, keep=1) == [Garbage(half, 12, why), Garbage(whole, 12, why)]


def test_the_ends_of_phases_may_go_once_all_stages_that_begin_so_are_in_place(layout: Layout, run: Run) -> None:
    run("toy/one", A)
    end, half = put(layout.run(C) / "phase"), put(layout.run(C) / ".phase.host.7.tmp")
    wanted = Wanted({A, B}, {C: {A}})
    why = "the end of a phase of finished stages"
    assert garbage.find(layout, 1, wanted) == [Garbage(end, 12, why), Garbage(half, 12, why)]
    assert garbage.find(layout, 1, Wanted({A, B}, {C: {A, B}})) == [], "b has not finished"
    assert garbage.find(layout, 1, Wanted({A, B}, {C: set()})) == [], "no stage is known to begin so"
    assert garbage.find(layout, 1) == [], "no key is known to be wanted"


def test_a_key_that_nothing_asks_for_goes_as_a_whole(layout: Layout, run: Run) -> None:
    run("toy/one", A)
    put(attempt(layout, B) / "partial-000000003")
    size = sum(path.lstat().st_size for path in layout.run(B).rglob("*") if path.is_file())
    assert garbage.find(layout, 1, Wanted({A}, {})) == [Garbage(layout.run(B), size, UNWANTED)]
    assert garbage.find(layout, 1, Wanted({A, B}, {})) == []
    assert garbage.find(layout, 1, Wanted({A}, {B: {C}})) == [], "the key of a phase"


def test_of_a_key_that_nothing_asks_for_results_aside_are_counted_as_results(layout: Layout, run: Run) -> None:
    for key in (A, B):
        run("toy/one", key)  # a is aside now
    folder = layout.run(A)
    left = [folder / ".phase.host.7.tmp", folder / "attempt-0001", folder / "phase"]
    for path in left:
        put(path)
    found = garbage.find(layout, 1, Wanted({B}, {}))
    assert [(item.folder, item.why) for item in found] == [(path, UNWANTED) for path in left]
    assert [item.bytes for item in found][::2] == [12, 12]
    why = "an earlier result of toy/one at mini, not among the latest 0"
    assert (folder / "final", why) in [(item.folder, item.why) for item in garbage.find(layout, 0, Wanted({B}, {}))]


def test_of_results_that_newer_ones_replaced_the_latest_stay(
    layout: Layout, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = {A: 30.0, B: 10.0, C: 20.0}
    monkeypatch.setattr(superseded, "finished", lambda folder: times[folder.parent.name])
    for key in (A, B, C, "d" * 32):  # the last one is in place
        run("toy/one", key)
    for keep, going in ((1, [C, B]), (2, [B]), (3, [])):
        assert [one.folder.parent.name for one in garbage.find(layout, keep)] == going


def test_what_lies_behind_a_link_that_came_since_stays(layout: Layout, run: Run, tmp_path: Path) -> None:
    run("toy/one", A)
    put(layout.run(A) / "attempt-0001" / "partial-000000003")
    (found,) = garbage.find(layout, 1)
    found.folder.parent.rename(tmp_path / "elsewhere")
    found.folder.parent.symlink_to(tmp_path / "elsewhere")
    garbage.remove(found)
    assert (tmp_path / "elsewhere/partial-000000003/w").read_bytes() == FIVE


def test_links_go_first_and_count_with_their_own_bytes(layout: Layout, run: Run, tmp_path: Path) -> None:
    run("toy/one", A)
    names = ("attempt-0007", "final-0002", "phase", "partial-1", ".partial-1", "result")
    for name in names:
        (layout.run(A) / name).symlink_to(tmp_path)
    (layout.run(A) / "attempt-0001" / "result").symlink_to(tmp_path)
    (layout.run(A) / "elsewhere").symlink_to(tmp_path)  # nothing that a run makes
    (layout.results / ".runs" / B).symlink_to(tmp_path)
    found = garbage.find(layout, 1)
    size = len(os.fspath(tmp_path))
    assert {(item.bytes, item.why) for item in found} == {(size, LINK)}
    assert {item.folder for item in found} == {
        *(layout.run(A) / name for name in names), layout.run(A) / "attempt-0001" / "result", layout.run(B),
    }  # fmt: skip


def test_a_run_that_begins_meanwhile_is_left_alone_and_named_by_its_key(layout: Layout, run: Run) -> None:
    run("toy/one", A)
    put(layout.run(A) / "attempt-0001" / "partial-000000003")
    (found,) = garbage.find(layout, 1)
    with attempts.start(layout, "toy/one", A, {}):
        assert garbage.find(layout, 1) == []
        with pytest.raises(lease.HeldError, match=rf"^the key {'a' * 12} is already being run by process"):
            garbage.remove(found)
    assert found.folder.is_dir()
    garbage.remove(found)
    assert not found.folder.exists()


def test_a_whole_key_goes_with_its_lease(layout: Layout, run: Run) -> None:
    attempt(layout, B)
    (found,) = garbage.find(layout, 1, Wanted({A}, {}))
    garbage.remove(found)
    assert not layout.run(B).exists()


def test_a_disk_that_refuses_is_told_of_by_what_stays(
    layout: Layout, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("toy/one", A)
    put(layout.run(A) / "attempt-0001" / "partial-000000003")
    (layout.results / ".runs" / B).symlink_to(layout.root)
    found = {item.folder.name: item for item in garbage.find(layout, 1)}
    unlink = files.disk.unlink

    def refuse(path: Path) -> None:
        if path.name in ("w", B):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        unlink(path)

    monkeypatch.setattr(files.disk, "unlink", refuse)
    for name in ("partial-000000003", B):
        with pytest.raises(files.WriteError, match=rf"{name}: cannot be written \(Read-only file system\)"):
            garbage.remove(found[name])


def test_what_cannot_be_read_is_of_no_key_in_place_and_the_rest_is_looked_at(layout: Layout, run: Run) -> None:
    run("toy/zzz", A)
    (layout.stage("toy/aaa")).mkdir()
    (layout.manifest("toy/aaa")).write_text("{")
    folder = put(layout.run(A) / "attempt-0001" / "partial-000000003")
    assert [item.folder for item in garbage.find(layout, 1)] == [folder]
