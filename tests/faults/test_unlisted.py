"""Files that nothing lists: named by a deep check, never read, and no damage."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stages.check.gate import Gate
from stages.commands.run import run_stage
from stages.commands.status import print_status
from stages.errors import UserError
from stages.spec.project import Project
from stages.store import attempts, done, files, finish, manifest
from stages.store.layout import Layout
from tests.faults import finished_project
from tests.unit.store.conftest import A, Run

UNLISTED = (
    "model/llm/model.sync-conflict-1.safetensors",
    "model/llm/model-00003-of-00002.safetensors",
    "state/.optimizer.safetensors.7.tmp",
    "notes.txt",
)


def test_a_deep_look_names_what_nothing_lists_and_calls_the_stage_done(layout: Layout, run: Run) -> None:
    run("toy/one", A)
    folder = layout.stage("toy/one")
    for name in UNLISTED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"left over")
    (folder / "model copy/deeper").mkdir(parents=True)
    (folder / "model copy/deeper/model.safetensors").write_bytes(b"left over")
    (folder / "link").symlink_to("/")
    os.mkfifo(folder / "pipe")
    (folder / "plots").mkdir()
    (folder / "plots/lr.png").write_bytes(b"drawn after")
    found = done.is_done(layout, "toy/one", A, {}, deep=True)
    assert found.done
    # A folder that holds nothing listed is named once, whatever is in it.
    wanted = {"model/llm", "state", "notes.txt", "model copy", "link", "pipe"}
    assert {path.relative_to(folder).as_posix() for path in found.unlisted} == wanted
    assert done.is_done(layout, "toy/one", A, {}).unlisted == ()


def test_a_folder_without_its_seal_has_no_unlisted_files(layout: Layout, run: Run) -> None:
    """`Move them away` would be said of the manifest and of run.json."""
    run("toy/one", A)
    seal = layout.stage("toy/one") / "seal.json"
    for text in ("{", None):
        seal.write_text(text) if text else seal.unlink()
        found = done.is_done(layout, "toy/one", A, {}, deep=True)
        assert found.state == "damaged"
        assert found.unlisted == ()


def test_what_somebody_puts_into_the_folder_of_a_run_is_not_sealed_with_its_result(layout: Layout) -> None:
    """A synchronisation does not wait until a result is in place."""
    with attempts.start(layout, "toy/one", A, {}) as attempt:
        files.write(attempt.result / "weights", b"trained")
        (attempt.result / "weights (conflicted copy)").write_bytes(b"of another machine")
        record = manifest.Manifest(
            schema_version=1, stage="toy/one", key=A, tier="bit-exact", stand_in=False, parents={}, points_to=None,
            counters={}, shards=manifest.shards(attempt.result, ["weights"], attempt.written),
        )  # fmt: skip
        finish.finish(attempt, record)
    found = done.is_done(layout, "toy/one", A, {}, deep=True)
    assert found.done
    assert [path.name for path in found.unlisted] == ["weights (conflicted copy)"]


def test_weights_are_the_files_that_the_manifest_lists(layout: Layout, run: Run) -> None:
    run("toy/one", A)
    folder = layout.stage("toy/one")
    record = manifest.read(folder / manifest.NAME)
    (folder / "model/llm").mkdir()
    shards = [shard.model_copy(update={"file": "model/llm/model.safetensors"}) for shard in record.shards]
    manifest.write(folder, record.model_copy(update={"shards": shards}))
    (folder / "model/llm/model.sync-conflict-1.safetensors").write_bytes(b"another")
    assert manifest.weights(folder, "llm") == [folder / "model/llm/model.safetensors"]


def test_status_names_unlisted_files_in_a_line_and_its_exit_code_is_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    layout = finished_project.make(tmp_path)
    (layout.stage("toy/first") / "model/llm/a\x1b[2J.safetensors").write_bytes(b"left over")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    assert print_status("mini", ("toy",), deep=True, failed=False, as_json=False) == 0
    said = capsys.readouterr().out
    assert r"toy/first: nothing lists, and nothing reads: results/mini/toy/first/model/llm/a\x1b[2J.safetensors" in said


@pytest.mark.parametrize("name", ["manifest.json", "stage.json", "model/llm/model.safetensors"])
def test_a_deep_look_that_finds_damage_says_so_and_exits_with_1(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One flipped bit; a child that is to be run names its parent as damaged before it does anything."""
    layout = finished_project.make(tmp_path)
    path = layout.stage("toy/first") / name
    data = bytearray(path.read_bytes())
    place = data.find(b'"clock": 8') + 9 if name == "manifest.json" else len(data) // 2
    data[place] ^= 1
    path.write_bytes(data)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(Gate, "refuse", lambda *_: None)  # the small project is not one to be trained
    assert print_status("mini", ("toy",), deep=False, failed=False, as_json=False) == 0
    with pytest.raises(UserError, match=rf"toy/first is damaged \(.*{name}: expected blake3"):
        run_stage("toy/second", "mini", None)
    capsys.readouterr()
    assert print_status("mini", ("toy",), deep=True, failed=False, as_json=False) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "toy/first damaged" in said
    assert "1 damaged" in said
    assert print_status("mini", ("toy",), deep=False, failed=False, as_json=False) == 1, "the quick look knows by now"
    assert not list(layout.run(Project.load(tmp_path).keys("mini")["toy/second"]).glob("attempt-0002"))


def test_a_copy_that_came_while_a_stage_ran_is_not_taken_into_its_result(layout: Layout) -> None:
    with attempts.start(layout, "toy/one", A, {}) as attempt:
        files.write_atomic(attempt.result / "model/llm/model.safetensors", b"weights")
        (attempt.result / "model/llm/model.sync-conflict-1.safetensors").write_bytes(b"weights, earlier")
        shards = manifest.shards(attempt.result, ["model"], attempt.written)
    assert [shard.file for shard in shards] == ["model/llm/model.safetensors"]
