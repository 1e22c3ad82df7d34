"""A power cut, a full disk, a broken one, at every single change that a run makes: the old state or the new one."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from stages.store import attempts, done, files, finish, holder, lease, manifest, partials, trees
from stages.store.disk import Disk
from stages.store.layout import Layout
from tests.faults.disks import Failing, PowerCutError, using
from tests.faults.recorder import Folder, Recorder, build
from tests.unit.store.conftest import toy_manifest

A, B, REF = "a" * 32, "b" * 32, "toy/one"
OLD, NEW = b"old weights", b"new weights"
STEP = b"weights after ten steps"
LOSS = r"is lost|wrongly done"


def stage(layout: Layout, key: str, weights: bytes) -> None:
    """A whole stage: checkpoint, result, finish, checkpoints dropped."""
    with attempts.start(layout, REF, key, {}) as attempt:
        partials.save(partials.path(attempt, 10), lambda folder: files.write(folder / "weights", STEP) and None)
        files.make_dirs(attempt.result / "model")
        files.write(attempt.result / "model" / "w", weights)
        files.write_atomic(attempt.result / "run.json", b"{}")
        record = toy_manifest(attempt).model_copy(
            update={"shards": manifest.shards(attempt.result, ["model"], attempt.written)}
        )
        finish.finish(attempt, record)
        partials.clear(layout, key)


def assert_old_or_new(root: Path, new_expected: bool = False) -> None:
    """Nothing is wrongly done; the old result can be had; the new one is whole or not there; checkpoints are true."""
    layout = Layout(root, "mini")
    for key in (A, B):
        quick, deep = (done.is_done(layout, REF, key, {}, deep=look) for look in (False, True))
        assert not quick.done or deep.done, f"wrongly done: {deep.why}"
        partial = partials.latest(layout, key, {})
        assert partial is None or (partial / "weights").read_bytes() == STEP
    for key, weights, needed in ((B, NEW, new_expected), (A, OLD, True)):
        there = done.is_done(layout, REF, key, {}, deep=True).done or finish.restore(layout, REF, key, {})
        assert there or not needed, f"{key[:4]} is lost"
        assert not there or (layout.stage(REF) / "model" / "w").read_bytes() == weights
        assert not there or done.is_done(layout, REF, key, {}, deep=True).done


def cut_everywhere(tmp_path: Path, disk: type[Recorder] = Recorder) -> int:
    """Look at every state that a power cut during B's run can leave; how many there are."""
    recorder = disk(tmp_path / "live")
    recorder.root.mkdir()
    with using(recorder):
        stage(Layout(recorder.root, "mini"), A, OLD)
        begun = len(recorder.states)
        stage(Layout(recorder.root, "mini"), B, NEW)
    looked_at = 0
    for point, state in recorder.crash_states():
        if point <= begun:
            continue
        place = tmp_path / "cut"
        build(place, state)
        assert_old_or_new(place)
        shutil.rmtree(place)
        looked_at += 1
    for number, state in enumerate(recorder.states[-1]):  # once finish has returned, nothing can take the result back
        build(tmp_path / f"after{number}", state)
        assert_old_or_new(tmp_path / f"after{number}", new_expected=True)
    return looked_at


def test_every_state_that_a_power_cut_can_leave_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    assert cut_everywhere(tmp_path) > 100


def flush_nothing(path: Path) -> None: ...


def rename_without_flushing_where_it_came_to(source: Path, target: Path) -> None:
    files.disk.rename(source, target)
    files.fsync_dir(source.parent)


def rename_flushing_where_it_left_first(source: Path, target: Path) -> None:
    rename_without_flushing_where_it_came_to(source, target)
    files.fsync_dir(target.parent)


def make_dirs_without_flushing(path: Path) -> None:
    path, missing = path, [one for one in (path, *path.parents) if not one.exists()]
    for folder in reversed(missing):
        files.disk.mkdir(folder)


@pytest.mark.parametrize(
    ("name", "mutant"),
    [
        ("rename", rename_without_flushing_where_it_came_to),
        ("rename", rename_flushing_where_it_left_first),
        ("make_dirs", make_dirs_without_flushing),
        ("fsync_tree", flush_nothing),
        ("fsync_dir", flush_nothing),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_every_flush_that_is_left_out_or_late_loses_something(
    name: str, mutant: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trees if name == "fsync_tree" else files, name, mutant)
    with pytest.raises(AssertionError, match=LOSS):
        cut_everywhere(tmp_path)


def test_files_that_are_not_flushed_lose_something(tmp_path: Path) -> None:
    class FlushesFoldersOnly(Recorder):
        def fsync(self, handle: int) -> None:
            if isinstance(self.handles[handle], Folder):
                super().fsync(handle)

    with pytest.raises(AssertionError, match=LOSS):
        cut_everywhere(tmp_path, FlushesFoldersOnly)


def changes(tmp_path: Path) -> int:
    shutil.copytree(tmp_path / "old", tmp_path / "count")
    counter = Failing(at=0, code=None, lasting=False)
    with using(counter):
        stage(Layout(tmp_path / "count", "mini"), B, NEW)
    return counter.count


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_kill_before_and_after_every_single_change(tmp_path: Path, after: bool) -> None:
    stage(Layout(tmp_path / "old", "mini"), A, OLD)
    for at in range(1, changes(tmp_path) + 1):
        root = tmp_path / f"{at}"
        shutil.copytree(tmp_path / "old", root)
        with pytest.raises(PowerCutError), using(Failing(at, None, lasting=True, after=after)):
            stage(Layout(root, "mini"), B, NEW)
        assert_old_or_new(root)
        stage(Layout(root, "mini"), B, NEW)  # and the next run is not in its way
        assert_old_or_new(root, new_expected=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "lasting"), [(errno.ENOSPC, False), (errno.ENOSPC, True), (errno.EIO, False), (errno.EROFS, True)]
)
def test_an_error_at_every_single_change_is_told_and_loses_nothing(tmp_path: Path, code: int, lasting: bool) -> None:
    stage(Layout(tmp_path / "old", "mini"), A, OLD)
    for at in range(1, changes(tmp_path) + 1):
        root = tmp_path / f"{at}"
        shutil.copytree(tmp_path / "old", root)
        disk, told = Failing(at, code, lasting), None
        with using(disk):
            try:
                stage(Layout(root, "mini"), B, NEW)
            except files.WriteError as error:
                told = str(error)
        assert told is None or os.strerror(code) in told
        assert_old_or_new(root, new_expected=told is None)


def test_a_disk_that_takes_one_byte_at_a_time_gets_every_byte(tmp_path: Path) -> None:
    with using(Failing(0, None, lasting=False, short=True)):
        stage(Layout(tmp_path, "mini"), B, NEW)
    assert done.is_done(Layout(tmp_path, "mini"), REF, B, {}, deep=True).done


def test_a_digest_is_of_what_was_meant_so_that_a_disk_which_stores_something_else_is_found_out(tmp_path: Path) -> None:
    class Wrong(Disk):
        def write(self, handle: int, data: memoryview) -> int:
            return super().write(handle, memoryview(bytes(data).replace(b"new", b"nEw")))

    with using(Wrong()):
        stage(Layout(tmp_path, "mini"), B, NEW)
    assert "model/w" in done.is_done(Layout(tmp_path, "mini"), REF, B, {}, deep=True).why


def test_a_run_that_was_taken_for_dead_cannot_finish_even_with_its_lease_file_back(tmp_path: Path) -> None:
    layout = Layout(tmp_path, "mini")
    with attempts.start(layout, REF, B, {}) as ghost:
        (layout.run(B) / f"token-{ghost.holder.token + 1:06d}").touch()  # given to a later run on another host
        with pytest.raises(lease.LeaseError, match="a later run has taken over"):
            finish.finish(ghost, toy_manifest(ghost))
    assert not layout.stage(REF).exists()


def test_two_hosts_that_take_over_at_once_do_not_both_get_the_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lease.hold(tmp_path, "toy/one"):
        pass
    monkeypatch.setattr(lease, "_last_token", lambda folder: 0)  # looked just before the other took its token
    with pytest.raises(lease.LeaseError, match="already being run"), lease.hold(tmp_path, "toy/one"):
        raise AssertionError("two holders")


def test_a_clock_set_back_does_not_keep_a_dead_hosts_lease_alive(tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    path.write_text('{"host": "elsewhere", "pid": 1, "started": 0.0, "token": 1}')
    future = path.stat().st_mtime + 365 * 24 * 3600
    os.utime(path, (future, future))
    assert lease.holder(tmp_path) is None


def test_a_clock_set_back_does_not_make_a_living_run_of_this_host_look_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lease.hold(tmp_path, "toy/one") as mine:
        boot, created = holder.psutil.boot_time(), holder.psutil.Process().create_time()

        class Set:
            def __init__(self, pid: int) -> None: ...

            def create_time(self) -> float:
                return created - 1e7

            def status(self) -> str:
                return "running"

        monkeypatch.setattr(holder.psutil, "boot_time", lambda: boot - 1e7)
        monkeypatch.setattr(holder.psutil, "Process", Set)
        assert lease.holder(tmp_path) == mine


def test_a_run_under_another_key_that_finishes_in_between_loses_neither_result(tmp_path: Path) -> None:
    layout = Layout(tmp_path, "mini")
    stage(layout, A, OLD)

    class Between(Disk):
        done = False

        def rename(self, source: Path, target: Path) -> None:
            if target == layout.stage(REF) and not self.done:
                self.done = True
                stage(layout, "c" * 32, b"third")
            super().rename(source, target)

    with using(Between()):
        stage(layout, B, NEW)
    assert_old_or_new(tmp_path, new_expected=True)
    assert finish.restore(layout, REF, "c" * 32, {})
