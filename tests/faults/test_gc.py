"""`stages gc` takes checkpoints of what is finished and old results; never what is in place or being run."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from pathlib import Path

import pytest

from stages.commands import gc
from stages.commands.status import print_status
from stages.errors import UsageError, UserError
from stages.store import attempts, done, files, garbage, lease, partials
from stages.store.disk import Disk
from stages.store.garbage import Wanted
from stages.store.layout import Layout
from tests.faults import finished_project
from tests.faults.disks import using
from tests.unit.spec import small_project
from tests.unit.store.conftest import Run

KEYS = [letter * 32 for letter in "abcd"]


def checkpoint(layout: Layout, key: str) -> Path:
    with attempts.start(layout, "toy/one", key, {}) as attempt:
        return partials.save(partials.path(attempt, 10), lambda folder: files.write(folder / "w", b"12345") and None)


def test_what_goes_is_listed_first_and_what_is_in_place_stays(
    layout: Layout, run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for key in KEYS[:3]:
        run("toy/one", key)
    kept, gone = checkpoint(layout, KEYS[3]), checkpoint(layout, KEYS[2])  # d has not finished, c is in place
    oldest, older = layout.run(KEYS[0]) / "final", layout.run(KEYS[1]) / "final"
    monkeypatch.setattr(gc, "find_root", lambda: layout.root)
    monkeypatch.setattr(gc, "_wanted", lambda root: Wanted(set(KEYS), {}))
    gc.collect(dry_run=True, delete=False, keep=1)
    listed = capsys.readouterr().out
    assert str(oldest.relative_to(layout.root)) in listed
    assert str(gone.relative_to(layout.root)) in listed
    assert "in 2 folders would go" in listed
    assert oldest.exists()
    assert gone.exists()
    gc.collect(dry_run=False, delete=True, keep=1)
    assert not oldest.exists()
    assert not gone.exists()
    assert older.exists()
    assert kept.exists()
    assert done.is_done(layout, "toy/one", KEYS[2], {}, deep=True).done


class Full(Disk):
    """Takes no byte."""

    def write(self, handle: int, data: memoryview) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_freed(layout: Layout, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """No lease can be written there, and removing what is asked for is what would free the disk."""
    for key in KEYS[:3]:
        run("toy/one", key)
    gone = checkpoint(layout, KEYS[2])
    found = garbage.find(layout, 0)
    assert len(found) == 3
    with using(Full()):
        for one in found:
            garbage.remove(one)
    assert not any(one.folder.exists() for one in found)
    assert not gone.exists()
    assert done.is_done(layout, "toy/one", KEYS[2], {}, deep=True).done
    with lease.hold(layout.run(KEYS[2]), "toy/one"), using(Full()), pytest.raises(lease.HeldError):
        garbage.remove(next(one for one in found if KEYS[2] in one.folder.parts))


def test_what_this_user_may_not_read_is_named_and_left_out(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint(layout, KEYS[0])
    checkpoint(layout, KEYS[1])
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != layout.run(KEYS[0]))
    monkeypatch.setattr(gc, "find_root", lambda: layout.root)
    monkeypatch.setattr(gc, "_wanted", lambda root: Wanted((), {}))
    gc.collect(dry_run=True, delete=False, keep=1)
    said = capsys.readouterr().out
    assert f"left out, since it cannot be read: results/.runs/{KEYS[0]}\n" in said
    assert "in 1 folder would go" in said


def test_what_a_run_holds_is_not_touched(layout: Layout, run: Run) -> None:
    run("toy/one", KEYS[0])
    gone = checkpoint(layout, KEYS[0])
    with attempts.start(layout, "toy/one", KEYS[0], {}):
        assert garbage.find(layout, keep=0) == []
    assert [item.folder for item in garbage.find(layout, keep=0)] == [gone]


@pytest.mark.parametrize("both", [False, True])
def test_gc_does_nothing_unless_told_which(both: bool) -> None:
    with pytest.raises(UsageError, match=r"--dry-run .* or --delete"):
        gc.collect(both, both, 3)


@pytest.mark.parametrize(("scales", "gone"), [(("mini", "mini"), 1), (("mini", "small"), 0)])
def test_results_are_kept_for_each_scale_by_itself(
    scales: tuple[str, str], gone: int, layout: Layout, run: Run
) -> None:
    for key in KEYS[:3]:
        run("toy/one", key)
    for key, scale in zip(KEYS, scales, strict=False):
        (layout.run(key) / "final/stage.json").write_text(f'{{"scale": "{scale}"}}')
    assert len(garbage.find(layout, keep=1)) == gone


def test_the_latest_results_are_those_that_finished_last_whatever_their_folders_times(layout: Layout, run: Run) -> None:
    """As after `cp -r` or `dvc pull`, which set the times of files again, in an order of their own."""
    for key in KEYS:
        run("toy/one", key)
    aside = [layout.run(key) / "final" for key in KEYS[:3]]
    for folder, finished in zip(aside, (300.25, 100.5, 200.0), strict=True):
        (folder / "run.json").write_text(f'{{"finished": {finished}}}')
    for folder, touched in zip(aside, (1, 3, 2), strict=True):
        os.utime(folder, (touched, touched))
    assert [item.folder for item in garbage.find(layout, keep=1)] == [aside[2], aside[1]]


def test_results_that_do_not_tell_when_they_finished_are_told_apart_by_the_leases_on_them(
    layout: Layout, run: Run
) -> None:
    for key in KEYS[:3]:
        run("toy/one", key)
    aside = [layout.run(key) / "final" for key in KEYS[:2]]
    for folder, when in zip(aside, (200.0, 100.0), strict=True):
        log = folder.parent / lease.LOG
        log.write_text(
            "".join(json.dumps({**json.loads(line), "time": when}) + "\n" for line in log.read_text().splitlines())
        )
    assert [item.folder for item in garbage.find(layout, keep=1)] == [aside[1]]
    for folder in aside:  # nothing tells: always the same one
        (folder.parent / lease.LOG).unlink()
    assert [item.folder for item in garbage.find(layout, keep=1)] == [aside[0]]


def test_keys_that_no_stage_has_any_more_go_and_so_do_phase_ends_of_finished_stages(layout: Layout, run: Run) -> None:
    run("toy/one", KEYS[0])
    abandoned, unfinished = checkpoint(layout, KEYS[1]), checkpoint(layout, KEYS[2])
    shared = [f"{number:032x}" for number in range(3)]
    for key in shared:
        partials.save(layout.phase_end(key), lambda folder: files.write(folder / "w", b"1234567") and None)
    wanted = Wanted({KEYS[0], KEYS[2]}, {shared[0]: {KEYS[0]}, shared[1]: {KEYS[0], KEYS[2]}})
    found = {item.folder: item for item in garbage.find(layout, 3, wanted)}
    assert set(found) == {layout.run(KEYS[1]), layout.run(shared[2]), layout.phase_end(shared[0])}
    assert found[layout.run(KEYS[1])].why == garbage.UNWANTED
    assert found[layout.phase_end(shared[0])].why == "the end of a phase of finished stages"
    end = layout.phase_end(shared[0])
    assert found[end].bytes == sum(path.stat().st_size for path in end.iterdir())
    for item in found.values():
        garbage.remove(item)
    assert not abandoned.exists()
    assert not layout.run(KEYS[1]).exists()
    assert unfinished.exists()
    assert layout.phase_end(shared[1]).exists()
    assert garbage.find(layout, 3, wanted) == []


def test_an_abandoned_key_keeps_the_results_that_lie_aside_under_it(layout: Layout, run: Run) -> None:
    run("toy/one", KEYS[0])
    left = checkpoint(layout, KEYS[0])
    run("toy/one", KEYS[1])
    found = garbage.find(layout, 3, Wanted({KEYS[1]}, {}))
    assert {item.folder for item in found} == {left.parent, layout.run(KEYS[0]) / "attempt-0001"}
    for item in found:
        garbage.remove(item)
    assert (layout.run(KEYS[0]) / "final/manifest.json").is_file()


def test_it_works_in_any_folder_of_the_project_and_knows_the_keys_of_its_specs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    layout = finished_project.make(tmp_path)
    for number in range(50):
        (layout.results / ".runs" / f"{number:032x}" / "attempt-0001").mkdir(parents=True)
        (layout.results / ".runs" / f"{number:032x}" / "attempt-0001/log").write_bytes(b"12345")
    monkeypatch.chdir(tmp_path / "specs/toy")
    gc.collect(dry_run=True, delete=False, keep=3)
    said = capsys.readouterr().out
    assert "250 bytes in 50 folders would go" in said
    assert f"5 bytes  results/.runs/{7:032x}: of no stage as the specs are now" in said
    gc.collect(dry_run=False, delete=True, keep=3)
    assert len(list((layout.results / ".runs").iterdir())) == 4, "one for each stage of these specs that was run"
    capsys.readouterr()
    assert print_status("mini", (), deep=True, failed=False, as_json=False) == 1, "the variant has failed, as before"
    assert "3 done, 4 missing, 1 failed" in " ".join(capsys.readouterr().out.split())


def test_specs_that_cannot_be_read_remove_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows then which keys they ask for."""
    layout = finished_project.make(tmp_path)
    (layout.results / ".runs" / ("0" * 32) / "attempt-0001").mkdir(parents=True)
    small_project.edit(tmp_path, "toy/first.yaml", "kind: train", "kind: trian")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"first\.yaml"):
        gc.collect(dry_run=False, delete=True, keep=0)
    assert (layout.results / ".runs" / ("0" * 32) / "attempt-0001").is_dir()


def _seconds_to_list(layout: Layout, first: int, count: int) -> float:
    """Of the processor, for so many abandoned folders, which are gone afterwards."""
    for number in range(first, first + count):
        folder = layout.results / ".runs" / f"{number:032x}" / "attempt-0001"
        folder.mkdir(parents=True)
        (folder / "attempt.json").write_bytes(b"{}")
    began = time.process_time()
    assert len(garbage.find(layout, 3, Wanted(set(), {}))) == count
    took = time.process_time() - began
    shutil.rmtree(layout.results / ".runs")
    return took


@pytest.mark.slow
def test_ten_thousand_abandoned_folders_are_listed_in_about_ten_times_what_a_thousand_take(layout: Layout) -> None:
    # What is quadratic takes a hundred times as long.
    assert _seconds_to_list(layout, 0, 10_000) < 30 * _seconds_to_list(layout, 10_000, 1_000)
