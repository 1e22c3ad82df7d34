"""Partial checkpoints: what is written, in which order it is flushed, what is found wrong, and which are removed."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from stages.store import attempts, files, here, partials, trees
from stages.store.attempts import Attempt
from stages.store.digest import digest_bytes
from stages.store.layout import Layout
from tests.unit.store.conftest import A
from tests.unit.store.watched import Watched

B = "b" * 32


def weights(folder: Path) -> None:
    """One file through `files`, and one past it, as a library writes."""
    (folder / "model").mkdir()
    files.write(folder / "model/w", b"weights")
    (folder / "loose").write_bytes(b"loose")


def saved(layout: Layout, *steps: int, key: str = A) -> Attempt:
    with attempts.start(layout, "toy/one", key, {}) as attempt:
        for step in steps:
            partials.save(partials.path(attempt, step), weights)
    return attempt


def said(folder: Path) -> list[tuple[str, str, str]]:
    return [(str(one.file.relative_to(folder)), one.expected, one.actual) for one in partials.problems(folder)]


def test_a_checkpoint_lists_its_key_and_the_digest_of_every_file(layout: Layout) -> None:
    folder = partials.path(saved(layout, 7), 7)
    assert folder.name == "partial-000000007"
    assert json.loads((folder / "partial.json").read_text()) == {
        "key": A, "files": {"loose": digest_bytes(b"loose"), "model/w": digest_bytes(b"weights")},
    }  # fmt: skip
    assert (partials.valid(folder), partials.problems(folder), partials.step_of(folder)) == (True, [], 7)


def test_everything_is_flushed_before_the_name_that_says_that_it_is_there(layout: Layout, disk: Watched) -> None:
    with attempts.start(layout, "toy/one", A, {}) as attempt:
        disk.asked.clear()
        partials.save(partials.path(attempt, 7), weights)
    temporary = f".partial-000000007.{here.process()}.tmp"
    asked = [one for one in disk.asked if one[0] in ("mkdir", "fsync", "rename")]
    assert asked[: asked.index(("rename", "partial-000000007"))] == [
        ("mkdir", temporary), ("fsync", "w"), ("fsync", "loose"), ("fsync", "partial.json"),
        ("fsync", "model"), ("fsync", temporary),
    ]  # fmt: skip
    assert asked[asked.index(("rename", "partial-000000007")) + 1] == ("fsync", attempt.folder.name)


def test_what_a_killed_process_of_the_same_number_left_is_no_matter(layout: Layout) -> None:
    with attempts.start(layout, "toy/one", A, {}) as attempt:
        folder = partials.path(attempt, 7)
        left = folder.with_name(f".{folder.name}.{here.process()}.tmp")
        files.write_atomic(left / "half", b"h")
        partials.save(folder, weights)
        assert list(trees.files_under(folder)) == ["loose", "model/w", "partial.json"]
        partials.save(folder, lambda inner: files.write(inner / "other", b"1") and None)
        assert list(trees.files_under(folder)) == ["other", "partial.json"], "written again"
        names = sorted(path.name for path in attempt.folder.iterdir())
        assert names == ["attempt.json", folder.name, "reserve", "result"]


def test_an_error_of_what_writes_leaves_nothing_and_is_told_as_it_is(layout: Layout) -> None:
    def fail(folder: Path) -> None:
        weights(folder)
        raise ZeroDivisionError("once")

    with attempts.start(layout, "toy/one", A, {}) as attempt:
        with pytest.raises(ZeroDivisionError, match="once"):
            partials.save(partials.path(attempt, 7), fail)
        assert sorted(path.name for path in attempt.folder.iterdir()) == ["attempt.json", "reserve", "result"]


def test_an_error_stays_the_one_told_where_nothing_can_be_removed_after_it(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def fail(folder: Path) -> None:
        weights(folder)
        monkeypatch.setattr(files.disk, "unlink", refuse)
        raise ZeroDivisionError("once")

    with attempts.start(layout, "toy/one", A, {}) as attempt:
        with pytest.raises(ZeroDivisionError, match="once"):
            partials.save(partials.path(attempt, 7), fail)
        monkeypatch.undo()


def test_what_was_hashed_on_the_way_is_not_read_again(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """The digest is that of what was meant, whatever the disk made of it."""
    read = []
    measure = partials.measure
    monkeypatch.setattr(partials, "measure", lambda path: read.append(path.name) or measure(path))
    saved(layout, 7)
    assert read == ["loose"]


def test_each_file_that_differs_is_named_with_what_is_listed_and_what_is_there(layout: Layout) -> None:
    folder = partials.path(saved(layout, 7), 7)
    (folder / "loose").write_bytes(b"lOose")
    (folder / "model/w").unlink()
    (folder / "added").write_bytes(b"more")
    assert said(folder) == [
        ("added", "no such file", f"blake3 {digest_bytes(b'more')}"),
        ("loose", f"blake3 {digest_bytes(b'loose')}", f"blake3 {digest_bytes(b'lOose')}"),
        ("model/w", f"blake3 {digest_bytes(b'weights')}", "nothing"),
    ]
    assert not partials.valid(folder)


def test_a_list_that_is_not_there_or_cannot_be_read_is_the_one_problem(layout: Layout) -> None:
    folder = partials.path(saved(layout, 7), 7)
    (folder / "loose").unlink()
    (folder / "partial.json").write_text("{")
    ((_, expected, actual),) = said(folder)
    assert expected == "a key and a list of digests"
    assert actual.startswith(f"blake3 {digest_bytes(b'{')} (is not JSON")
    (folder / "partial.json").unlink()
    assert said(folder) == [("partial.json", "a key and a list of digests", "nothing")]


@pytest.mark.parametrize(
    "listing", [{"files": {}}, {"key": A}, {"key": A, "files": {}, "more": 1}, {"key": A, "files": {"a": 1}}]
)
def test_a_list_with_other_fields_is_none(listing: object, layout: Layout) -> None:
    folder = partials.path(saved(layout, 7), 7)
    (folder / "partial.json").write_text(json.dumps(listing))
    assert [expected for _, expected, _ in said(folder)] == ["a key and a list of digests"]


def test_a_checkpoint_of_another_key_is_refused_by_its_list(layout: Layout) -> None:
    one, other = saved(layout, 7), saved(layout, key=B)
    copied = partials.path(one, 7).rename(partials.path(other, 7))
    assert said(copied) == [("partial.json", f"a checkpoint of key {B}", f"one of key {A}")]


def test_the_key_is_that_of_the_folder_of_runs_above(layout: Layout, tmp_path: Path) -> None:
    assert partials.key_of(layout.run(A) / "attempt-0001" / "partial-000000007") == A
    assert partials.key_of(layout.run(B) / "phase") == B
    assert partials.key_of(tmp_path / "partial-000000007") == ""


def test_only_folders_of_a_checkpoints_name_are_checkpoints_the_latest_first(layout: Layout) -> None:
    attempt = saved(layout, 3, 20, 100)
    for name in ("partial-7", "partial-000000007.old", "partial-00000000x", "xpartial-000000007"):
        (attempt.folder / name).mkdir()
    (attempt.folder / "partial-000000008").write_bytes(b"")
    (attempt.folder / "partial-000000009").symlink_to(partials.path(attempt, 3))
    assert [partials.step_of(one) for one in partials.listed(attempt.folder)] == [100, 20, 3]


def test_steps_are_compared_as_numbers(layout: Layout) -> None:
    attempt = saved(layout)
    for step in (999_999_999, 1_000_000_000):
        partials.path(attempt, step).mkdir()
    assert [partials.step_of(one) for one in partials.listed(attempt.folder)] == [1_000_000_000, 999_999_999]


def test_those_of_all_attempts_are_taken_by_their_steps(layout: Layout) -> None:
    for steps in ((5, 30), (10, 20)):
        saved(layout, *steps)
    assert [partials.step_of(one) for one in partials.built_on(layout, A, {})] == [30, 20, 10, 5]
    assert partials.latest(layout, A, {}) == layout.run(A) / "attempt-0001" / "partial-000000030"
    assert partials.latest(layout, B, {}) is None


def test_an_attempt_whose_record_is_gone_has_none_to_go_on_from(layout: Layout) -> None:
    (saved(layout, 5).folder / "attempt.json").unlink()
    assert partials.built_on(layout, A, {}) == []


def test_all_but_the_latest_go_and_of_other_attempts_what_is_not_ahead_of_those(layout: Layout) -> None:
    saved(layout, 10, 20, 30)
    with attempts.start(layout, "toy/one", A, {}) as second:
        for step in (15, 20, 25):
            partials.save(partials.path(second, step), weights)
        partials.prune(second, 2)
        left = [(one.parent.name, partials.step_of(one)) for one in partials.built_on(layout, A, {})]
    assert left == [("attempt-0001", 30), ("attempt-0002", 25), ("attempt-0002", 20)]


def test_a_finished_stage_keeps_none(layout: Layout) -> None:
    for _ in range(2):
        saved(layout, 5, 10)
    partials.clear(layout, A)
    assert partials.built_on(layout, A, {}) == []
    assert len(attempts.folders(layout, A)) == 2


def test_a_disk_that_removes_nothing_is_told_of_by_the_checkpoints_name(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = saved(layout, 5, 10)

    def refuse(path: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(files.disk, "unlink", refuse)
    with pytest.raises(files.WriteError, match=r"partial-000000005: cannot be written \(Read-only file system\)"):
        partials.prune(attempt, 1)
    with pytest.raises(files.WriteError, match=r"partial-000000010: cannot be written \(Read-only file system\)"):
        partials.clear(layout, A)
