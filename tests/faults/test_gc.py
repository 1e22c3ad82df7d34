"""`stages gc` takes checkpoints of what is finished and old results; never what is in place or being run."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from stages.commands import gc
from stages.errors import UsageError
from stages.store import attempts, done, files, garbage, lease, partials
from stages.store.layout import Layout
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
    monkeypatch.chdir(layout.root)
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
    """As after `cp -r` or `dvc pull`, which set the times of files anew, in an order of their own."""
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
    for folder, time in zip(aside, (200.0, 100.0), strict=True):
        log = folder.parent / lease.LOG
        log.write_text(
            "".join(json.dumps({**json.loads(line), "time": time}) + "\n" for line in log.read_text().splitlines())
        )
    assert [item.folder for item in garbage.find(layout, keep=1)] == [aside[1]]
    for folder in aside:  # nothing tells: always the same one
        (folder.parent / lease.LOG).unlink()
    assert [item.folder for item in garbage.find(layout, keep=1)] == [aside[0]]
