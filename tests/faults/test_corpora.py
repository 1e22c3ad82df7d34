"""Prepared corpora: whole or absent whatever the disk does, and never read when damaged."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from blake3 import blake3

from stages import engines
from stages.commands import find_project, run
from stages.commands.run import refuse_damaged_corpora
from stages.data.corpus import corpus_manifest, prepared
from stages.errors import UserError
from stages.store import attempts, damage, files, seal
from stages.store.layout import Layout
from tests.faults.cases import PROJECT
from tests.faults.disks import Failing, PowerCutError, using
from tests.faults.recorder import Recorder, build
from tests.faults.test_damage import DAMAGE, flip
from tests.snapshot import mini
from tests.unit.data.conftest import small
from tests.unit.data.small import Small
from tests.unit.store.conftest import Run

__all__ = ["small"]

KEY = "a" * 32
OLD, NEW = b"old tokens", b"new tokens, and more of them"


def write(out: Path, content: bytes) -> corpus_manifest.DataManifest:
    """A corpus of two files."""
    contents = {"tokens.bin": content, "tokens.idx": b"index of " + content}

    def make(shards: list[prepared.Shard]) -> corpus_manifest.DataManifest:
        numbers: dict[str, Any] = dict.fromkeys(("size", "documents", "longest", "heldout"), len(content))
        digest = prepared.content_digest(len(content), shards)
        return corpus_manifest.DataManifest(
            schema_version=1, corpus="toy", kind="text", digest=digest, tokenizer="0" * 64, cell=0, patch=0, channels=0,
            shards=shards, **numbers,
        )  # fmt: skip

    return prepared.write_folder(out, contents, make)


def assert_whole_or_absent(out: Path, new_expected: bool = False) -> None:
    if out.exists() or new_expected:
        assert not prepared.verify(out, deep=False)
        assert not prepared.verify(out, deep=True)
        assert (out / "tokens.bin").read_bytes() in ((NEW,) if new_expected else (OLD, NEW))


def cut_everywhere(tmp_path: Path) -> int:
    """Look at every state that a power cut can leave while a corpus is prepared, and prepared again."""
    recorder = Recorder(tmp_path / "live")
    recorder.root.mkdir()
    with using(recorder):
        write(recorder.root / "data/toy", OLD)
        write(recorder.root / "data/toy", NEW)
    looked_at = 0
    for _, state in recorder.crash_states():
        place = tmp_path / f"cut{looked_at}"
        build(place, state)
        assert_whole_or_absent(place / "data/toy")
        looked_at += 1
    for number, state in enumerate(recorder.states[-1]):
        build(tmp_path / f"after{number}", state)
        assert_whole_or_absent(tmp_path / f"after{number}/data/toy", new_expected=True)
    return looked_at


def test_every_state_that_a_power_cut_can_leave_is_whole_or_absent(tmp_path: Path) -> None:
    assert cut_everywhere(tmp_path) > 50


def test_without_flushed_folders_it_would_be_neither(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "fsync_dir", lambda path: None)
    with pytest.raises(AssertionError):
        cut_everywhere(tmp_path)


def changes(tmp_path: Path) -> int:
    counter = Failing(at=0, code=None, lasting=False)
    write(tmp_path / "count/toy", OLD)
    with using(counter):
        write(tmp_path / "count/toy", NEW)
    return counter.count


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_kill_at_every_single_change_leaves_nothing_half_and_nothing_behind(tmp_path: Path, after: bool) -> None:
    for at in range(1, changes(tmp_path) + 1):
        out = tmp_path / f"{at}/toy"
        write(out, OLD)
        with pytest.raises(PowerCutError), using(Failing(at, None, lasting=True, after=after)):
            write(out, NEW)
        assert_whole_or_absent(out)
        write(out, NEW)
        assert_whole_or_absent(out, new_expected=True)
        assert [path.name for path in out.parent.iterdir()] == ["toy"]


@pytest.mark.parametrize(
    ("code", "lasting"), [(errno.ENOSPC, False), (errno.ENOSPC, True), (errno.EIO, False), (errno.EROFS, True)]
)
def test_an_error_at_every_single_change_is_told(tmp_path: Path, code: int, lasting: bool) -> None:
    for at in range(1, changes(tmp_path) + 1):
        out = tmp_path / f"{at}/toy"
        write(out, OLD)
        with using(Failing(at, code, lasting)), pytest.raises(files.WriteError, match=os.strerror(code)):
            write(out, NEW)
        assert_whole_or_absent(out)


def test_a_disk_that_takes_one_byte_at_a_time_gets_every_byte(tmp_path: Path) -> None:
    with using(Failing(0, None, lasting=False, short=True)):
        write(tmp_path / "toy", NEW)
    assert_whole_or_absent(tmp_path / "toy", new_expected=True)


def test_two_preparations_at_once_leave_one_of_them(tmp_path: Path) -> None:
    out = tmp_path / "toy"

    class Between(Failing):
        done = False

        def rename(self, source: Path, target: Path) -> None:
            if target == out and not self.done:
                self.done = True
                source.rename(tmp_path / "aside")  # the other process's folders have other names than ours
                write(out, OLD)
                (tmp_path / "aside").rename(source)
            super().rename(source, target)

    write(out, OLD)
    with using(Between(0, None, lasting=False)):
        write(out, NEW)
    assert_whole_or_absent(out, new_expected=True)


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("name", ["tokens.bin", "tokens.idx", "images.bin", "images.idx", "manifest.json", seal.NAME])
def test_damage_is_named_and_nothing_is_trained_on_it(
    name: str, damage: Callable[[Path], object], small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, layout = mini.stage("align", small), Layout(tmp_path, "mini")
    shutil.copytree(small.data, layout.data)
    path = layout.data / "captions" / name
    before = blake3(path.read_bytes()).hexdigest()
    damage(path)
    loaded = SimpleNamespace(stages={"tiny/box": stage}, keys={"tiny/box": KEY}, absent={}, unreadable={})
    monkeypatch.setattr(find_project, "open_project", lambda scale: (tmp_path, PROJECT))
    monkeypatch.setattr(find_project.graph, "readable", lambda *_: loaded)
    monkeypatch.setattr(run.Gate, "refuse", lambda *_: None)  # no specs are behind this stage
    monkeypatch.setattr(engines, "run", lambda *_: pytest.fail("trained on it"))
    with pytest.raises(UserError) as caught:
        run.run_stage("tiny/box", "mini", None)
    said = str(caught.value)
    assert str(path) in said
    assert "`stages data captions --scale mini`" in said
    after = blake3(path.read_bytes()).hexdigest() if path.exists() else "found nothing"
    if name != seal.NAME:  # judged by the digest that it carries
        assert before in said
        assert after in said
    assert not attempts.folders(layout, KEY)


def test_what_was_never_prepared_is_missing_and_not_damaged(small: Small, tmp_path: Path) -> None:
    layout = Layout(tmp_path, "mini")
    with pytest.raises(UserError, match=r"corpus captions is not prepared; run `stages data captions --scale mini`"):
        refuse_damaged_corpora(layout, mini.stage("align", small))
    assert not layout.corpus("captions").exists()


def test_all_that_is_not_prepared_is_named_at_once_and_then_all_that_is_damaged(small: Small, tmp_path: Path) -> None:
    layout, stage = Layout(tmp_path, "mini"), mini.stage("align", small)
    with pytest.raises(UserError) as caught:
        refuse_damaged_corpora(layout, stage)
    missing = [line.rpartition("run ")[2] for line in str(caught.value).splitlines()]
    assert missing == ["`stages data captions --scale mini`.", "`stages data tokenizer --scale mini`."]
    shutil.copytree(small.data, layout.data)
    for name in ("captions/tokens.bin", "tokenizer/tokenizer.json"):
        flip(layout.data / name)
    with pytest.raises(UserError, match=r"captions/tokens.bin(.|\n)*tokenizer/tokenizer.json"):
        refuse_damaged_corpora(layout, stage)
    assert all(damage.noted(layout.corpus(name)) for name in ("captions", "tokenizer"))


def test_what_is_whole_is_trained_on(small: Small, tmp_path: Path) -> None:
    layout = Layout(tmp_path, "mini")
    shutil.copytree(small.data, layout.data)
    refuse_damaged_corpora(layout, mini.stage("align", small))


@pytest.mark.parametrize("kind", ["export", "upcycle"])
def test_what_a_stage_without_training_is_evaluated_on_is_read_in_full_too(
    kind: str, small: Small, layout: Layout, run: Run
) -> None:
    parent = mini.stage("align", small)
    run("tiny/align", KEY)
    (layout.stage("tiny/align") / "stage.json").write_text(parent.model_dump_json())
    evaluation = parent.evaluation.model_copy(update={"names": ("validation_loss",)})
    changes = {"kind": kind, "phases": (), "parents": ("tiny/align",), "evaluation": evaluation}
    child = parent.model_copy(update=changes)
    shutil.copytree(small.data, layout.data)
    refuse_damaged_corpora(layout, child)
    flip(layout.data / "captions/tokens.bin")
    with pytest.raises(UserError, match=r"captions/tokens.bin.* `stages data captions --scale mini` rebuilds it"):
        refuse_damaged_corpora(layout, child)
    assert damage.noted(layout.corpus("captions"))
    unread = child.model_copy(update={"evaluation": evaluation.model_copy(update={"names": ()})})
    refuse_damaged_corpora(layout, unread)
