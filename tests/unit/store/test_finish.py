"""Putting results in place and back, and the order in which what lies aside is looked at."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from stages.errors import UserError
from stages.store import (
    attempts,
    built_on,
    damage,
    files,
    finish,
    here,
    lease,
    manifest,
    seal,
    stage_record,
    trees,
    unlisted,
)
from stages.store.json_file import JsonFileError
from stages.store.layout import Layout
from tests.unit.store.conftest import A, Run, toy_manifest, verdict
from tests.unit.store.watched import Watched
from tests.unit.train import tiny

B = "b" * 32
WEIGHTS = "model/model.safetensors"


def aside(layout: Layout, key: str = A) -> list[str]:
    return sorted(path.name for path in layout.run(key).glob("final*"))


def test_seal_and_manifest_come_last_and_everything_is_flushed_before_them(layout: Layout, disk: Watched) -> None:
    with attempts.start(layout, "toy/one", A, {}) as attempt:
        (attempt.result / "model").mkdir()
        (attempt.result / "model" / "w").write_bytes(b"weights")
        disk.asked.clear()
        digest = finish.finish(attempt, toy_manifest(attempt))
    renamed = [name for what, name in disk.asked if what == "rename"]
    assert renamed == ["seal.json", "manifest.json", "one"]
    assert "w" in disk.flushed()[: disk.flushed().index(f".manifest.json.{here.process()}.tmp")]
    assert manifest.read_with_digest(layout.manifest("toy/one"))[1] == digest


def test_a_result_is_looked_through_for_links_at_the_beginning_of_its_end_and_before_it_is_renamed(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look walks through the whole folder, which is slow on a network's file system."""
    looks, walk = list[Path](), trees.walk
    with attempts.start(layout, "toy/one", A, {}) as attempt:
        (attempt.result / "model").mkdir()
        (attempt.result / "model" / "w").write_bytes(b"weights")
        record = toy_manifest(attempt)
        monkeypatch.setattr(attempts, "trees", SimpleNamespace(walk=lambda path: (looks.append(path), walk(path))[1]))
        finish.finish(attempt, record)
    assert len(looks) == 2


def test_a_result_is_complete_before_the_right_to_finish_is_taken(
    layout: Layout, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is killed from there on is put in place by the next run, without any training."""

    def killed(folder: Path, mine: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(lease, "claim", killed)
    with pytest.raises(KeyboardInterrupt):
        run("toy/one", A)
    assert not layout.stage("toy/one").exists()
    assert finish.restore(layout, "toy/one", A, {})
    assert verdict(layout).done


def test_what_was_in_place_lies_aside_under_its_own_key_each_with_a_number(layout: Layout, run: Run) -> None:
    for content in (b"one", b"two", b"three"):
        run("toy/one", A, content=content)
    run("toy/one", B)
    assert aside(layout) == ["final", "final-0002", "final-0003"]
    assert (layout.run(A) / "final" / WEIGHTS).read_bytes() == b"one"
    assert (layout.run(A) / "final-0003" / WEIGHTS).read_bytes() == b"three"


def test_a_folder_without_a_readable_manifest_lies_aside_as_unknown(layout: Layout, run: Run) -> None:
    (layout.stage("toy/one")).mkdir(parents=True)
    (layout.stage("toy/one") / "mine").write_bytes(b"1")
    run("toy/one", A)
    assert (layout.run("unknown") / "final" / "mine").read_bytes() == b"1"


def test_what_lies_aside_is_looked_at_from_the_latest_on_links_and_files_are_left_out(
    layout: Layout, run: Run, tmp_path: Path
) -> None:
    for content in (b"one", b"two", b"three"):
        run("toy/one", A, content=content)
    (layout.run(A) / "final-0008").symlink_to(tmp_path)
    (layout.run(A) / "final-0009").write_bytes(b"")
    with attempts.start(layout, "toy/one", A, {}):
        pass
    found = [path.relative_to(layout.run(A)).as_posix() for path in finish.candidates(layout, A)]
    assert found == ["final-0002", "final", "attempt-0004/result"]


def test_the_latest_whole_result_is_put_back_past_any_that_are_not(layout: Layout, run: Run) -> None:
    for content in (b"one", b"two", b"three", b"four"):
        run("toy/one", A, content=content)
    run("toy/one", B)
    (layout.run(A) / "final-0004" / "manifest.json").write_text("{")
    (layout.run(A) / "final-0003" / "seal.json").write_text("{")
    assert not finish.restore(layout, "toy/two", A, {})
    assert finish.restore(layout, "toy/one", A, {})
    assert (layout.stage("toy/one") / WEIGHTS).read_bytes() == b"two"
    assert verdict(layout).done


def test_a_result_of_before_there_were_seals_is_put_back_and_a_note_of_damage_that_was_mended_goes(
    layout: Layout, run: Run
) -> None:
    run("toy/one", A)
    run("toy/one", B)
    folder = layout.run(A) / "final"
    (folder / "seal.json").unlink()
    damage.note(folder, "a flipped bit")
    assert finish.restore(layout, "toy/one", A, {})
    assert damage.noted(layout.stage("toy/one")) == ""
    assert not (layout.stage("toy/one") / damage.NAME).exists()


def test_a_result_that_is_gone_before_it_is_in_place_says_so(layout: Layout) -> None:
    with pytest.raises(
        files.WriteError, match=r"result: is gone before it could be put in place\. Run the stage again"
    ):
        finish.put_in_place(layout, "toy/one", layout.root / "result")


def test_a_note_of_damage_is_text_that_may_be_shown(tmp_path: Path) -> None:
    damage.note(tmp_path, "w: \x1b[31m found")
    assert damage.noted(tmp_path) == "w: \\x1b[31m found"
    damage.note(tmp_path, "")
    assert (damage.noted(tmp_path), list(tmp_path.iterdir())) == ("", [])
    (tmp_path / damage.NAME).write_bytes(b"\xff\n")
    assert damage.noted(tmp_path) == "\ufffd"
    (tmp_path / damage.NAME).write_bytes(b"x" * (damage.LIMIT + 1))
    assert "is longer than" in damage.noted(tmp_path)


def test_a_stage_is_recorded_with_its_modules_in_order_and_read_again(tmp_path: Path) -> None:
    stage = tiny.make("next_token")
    stage_record.write(tmp_path, stage)
    text = (tmp_path / "stage.json").read_text()
    assert text.endswith("}\n")
    assert text.startswith('{\n  "')
    assert list(json.loads(text)["modules"]) == list(stage.modules)
    assert stage_record.read(tmp_path) == stage


def test_a_record_of_another_version_says_so(tmp_path: Path) -> None:
    (tmp_path / "stage.json").write_text('{"name": "one"}')
    with pytest.raises(JsonFileError) as caught:
        stage_record.read(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'stage.json'}: ")
    assert str(caught.value).endswith("is missing (written by another version of stages?)")
    (tmp_path / "stage.json").write_text("{")
    with pytest.raises(JsonFileError, match=r"stage\.json: is not JSON"):
        stage_record.read(tmp_path)


def test_unlisted_files_are_named_once_and_pictures_are_none(layout: Layout, run: Run) -> None:
    run("toy/one", A)
    folder = layout.stage("toy/one")
    for name in ("plots/lr.png", "plots/inner/a", "model/copy", "stale/a", "stale/b", "damage.txt", "z"):
        files.write_atomic(folder / name, b"1")
    (folder / "link").symlink_to(layout.root)
    record = manifest.read(folder / "manifest.json")
    names = [path.relative_to(folder).as_posix() for path in unlisted.files(folder, record)]
    assert names == ["link", "model/copy", "stale", "z"]
    (folder / seal.NAME).write_text("{")  # damage, and named as such
    assert unlisted.files(folder, record) == ()


def test_a_link_in_the_place_of_a_folder_is_unlisted_and_is_not_read(layout: Layout, run: Run, tmp_path: Path) -> None:
    run("toy/one", A)
    folder = layout.stage("toy/one")
    record = manifest.read(folder / "manifest.json")
    (folder / "model").rename(tmp_path / "elsewhere")
    (folder / "model").symlink_to(tmp_path / "elsewhere")
    assert unlisted.files(folder, record) == (folder / "model",)


def test_a_place_aside_that_another_process_takes_meanwhile_is_left_to_it(
    layout: Layout, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("toy/one", A)
    moved = trees.moved

    def taken(source: Path, target: Path) -> bool:
        if target.name == "final":
            target.mkdir()
            return False
        return moved(source, target)

    monkeypatch.setattr(trees, "moved", taken)
    run("toy/one", B)
    assert aside(layout) == ["final", "final-0002"]
    assert (layout.run(A) / "final-0002" / WEIGHTS).read_bytes() == b"weights"


def test_a_disk_that_takes_no_note_ends_no_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patch:
        patch.setattr(files.disk, "create", refuse)
        damage.note(tmp_path, "a flipped bit")
    assert damage.noted(tmp_path) == ""
    damage.note(tmp_path, "a flipped bit")
    monkeypatch.setattr(files.disk, "unlink", refuse)
    damage.note(tmp_path, "")
    assert damage.noted(tmp_path) == "a flipped bit"


def test_a_parent_is_known_by_its_bytes_only_while_it_is_what_was_built_on(layout: Layout, run: Run) -> None:
    digest = run("toy/one", A)
    now = manifest.parents(layout, {"toy/one": A})["toy/one"]
    assert built_on.digests(layout, "toy/one", now) == {now.manifest, digest}
    other = now.model_copy(update={"manifest": "7" * 64})
    assert built_on.digests(layout, "toy/one", other) == built_on.digests(layout, "toy/none", other) == {"7" * 64}


@pytest.mark.parametrize("step", ["fsync_tree", "make_dirs"])
def test_a_disk_that_refuses_at_the_end_is_told_of_by_the_result(
    step: str, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with attempts.start(layout, "toy/one", A, {}) as attempt:
        monkeypatch.setattr(trees if step == "fsync_tree" else files, step, refuse)
        if step == "fsync_tree":
            with pytest.raises(files.WriteError, match=r"attempt-0001/result: cannot be written"):
                finish.finish(attempt, toy_manifest(attempt))
        else:
            with pytest.raises(files.WriteError, match=r"toy/one: cannot be written"):
                finish.put_in_place(layout, "toy/one", attempt.result)
        monkeypatch.undo()


def test_a_place_that_was_taken_and_left_again_meanwhile_is_tried_again(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [False]
    moved = trees.moved
    monkeypatch.setattr(trees, "moved", lambda source, target: answers.pop() if answers else moved(source, target))
    (layout.root / "result").mkdir()
    finish.put_in_place(layout, "toy/one", layout.root / "result")
    assert layout.stage("toy/one").is_dir()


def test_a_link_in_a_results_place_is_refused_before_anything_is_run_and_stays(
    layout: Layout, run: Run, tmp_path: Path
) -> None:
    run("toy/one", A)
    place, elsewhere = layout.stage("toy/one"), tmp_path / "large"
    place.rename(elsewhere)
    place.symlink_to(elsewhere)
    with pytest.raises(UserError, match=f"^{place}: is a link to {elsewhere}, expected a folder: "):
        run("toy/one", B)
    assert not layout.run(B).exists()
    assert place.is_symlink()
    assert verdict(layout).done


def test_a_link_that_came_meanwhile_stays_and_so_does_the_result_that_was_made(
    layout: Layout, run: Run, tmp_path: Path
) -> None:
    run("toy/one", A)
    run("toy/one", B)
    place, elsewhere = layout.stage("toy/one"), tmp_path / "large"
    place.rename(elsewhere)
    place.symlink_to(elsewhere)
    with pytest.raises(UserError, match="is a link to"):
        finish.restore(layout, "toy/one", A, {})
    assert place.is_symlink()
    assert aside(layout) == ["final"]
    place.unlink()
    assert finish.restore(layout, "toy/one", A, {})
