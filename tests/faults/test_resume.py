"""Going on after damage: told, and never on what is damaged; the end is that of an undisturbed run."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from stages.engines import resume, run, training
from stages.errors import UserError
from stages.spec.resolved import Stage
from stages.store import attempts, done, evaluated_by, json_file, manifest
from tests.faults.test_damage import DAMAGE, flip
from tests.unit.train import tiny

BOX = "results/mini/tiny/box"
RUNS = f"results/.runs/{'a' * 32}"


class Failing(tiny.Data):
    """Ends in the seventh step, with checkpoints after the third and the sixth."""

    def samples(self, first: int, count: int, tail: int) -> list[Any]:
        if first == 32 and self.phase.name == "main":
            raise UserError("the disk went away")
        return super().samples(first, count, tail)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A folder in which a stage has stopped, and the manifest of one that nothing stopped."""
    root, stage = tmp_path_factory.mktemp("resume"), tiny.make("next_token")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "PhaseData", tiny.Data)
        run(stage, tiny.inputs(root / "whole"))
        patch.setattr(training, "PhaseData", Failing)
        with pytest.raises(UserError, match="went away"):
            run(stage, tiny.inputs(root / "cut"))
    return root / "cut", (root / "whole" / BOX / manifest.NAME).read_bytes()


@pytest.fixture
def root(stopped: tuple[Path, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(stopped[0], tmp_path / "cut")
    monkeypatch.setattr(training, "PhaseData", tiny.Data)
    return tmp_path / "cut"


def go_on(root: Path, capsys: pytest.CaptureFixture[str], stage: Stage | None = None) -> str:
    """Run the stage again; what it said of its beginning."""
    capsys.readouterr()
    run(stage or tiny.make("next_token"), tiny.inputs(root))
    return capsys.readouterr().out


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("name", ["weights.safetensors", "metrics.csv", "partial.json"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_used(
    name: str, damage: Any, root: Path, stopped: tuple[Path, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    third, sixth = (root / RUNS / f"attempt-0001/partial-{step:09d}" for step in (3, 6))
    before = blake3((sixth / name).read_bytes()).hexdigest()
    damage(sixth / name)
    after = f"blake3 {blake3((sixth / name).read_bytes()).hexdigest()}" if (sixth / name).exists() else "nothing"
    said = go_on(root, capsys)
    assert f"tiny/box: goes on after step 3, from {third}\n" in said
    if name == "partial.json":  # holds the digests, and is held by those of the other files
        assert f"tiny/box: a checkpoint is passed over: {sixth}/" in said
    else:
        line = f"tiny/box: a checkpoint is passed over: {sixth / name}: expected blake3 {before}, found {after}"
        assert line in said
    assert (root / BOX / manifest.NAME).read_bytes() == stopped[1]


def test_without_damage_the_latest_is_used_and_nothing_else_is_said(
    root: Path, stopped: tuple[Path, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    said = go_on(root, capsys)
    assert re.fullmatch(r"tiny/box: goes on after step 6, from \S+partial-000000006\n", said)
    assert (root / BOX / manifest.NAME).read_bytes() == stopped[1]


@pytest.mark.parametrize("lost", ["checkpoints", "attempt.json"])
def test_where_nothing_is_whole_the_run_says_that_it_begins_at_the_start(
    lost: str, root: Path, stopped: tuple[Path, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in (root / RUNS).glob("attempt-0001/partial-*"):
        if lost == "checkpoints":
            flip(folder / "optimizer.safetensors")
    if lost == "attempt.json":
        os.truncate(root / RUNS / "attempt-0001/attempt.json", 10)
    said = go_on(root, capsys)
    assert said.endswith("tiny/box: no checkpoint is whole; begins at the start\n")
    assert said.count("passed over") == (2 if lost == "checkpoints" else 1)
    assert (root / BOX / manifest.NAME).read_bytes() == stopped[1]


@pytest.mark.parametrize("what", ["run", "attempt", "checkpoint"])
def test_a_checkpoint_of_another_seed_is_named_and_not_used(
    what: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Copied beside this seed's, whole as it is, and built on the same parents: on none."""
    theirs, ours = root / RUNS, root / "results/.runs" / ("b" * 32)
    other = tiny.make("next_token").model_copy(update={"seed": 8})
    run(other, tiny.inputs(root / "undisturbed", "b" * 32))
    if what == "run":
        shutil.copytree(theirs, ours)
    elif what == "attempt":
        shutil.copytree(theirs / "attempt-0001", ours / "attempt-0001")
    else:
        (ours / "attempt-0001").mkdir(parents=True)
        (ours / "attempt-0001/attempt.json").write_text('{"ref": "tiny/box", "parents": {}}')
        shutil.copytree(theirs / "attempt-0001/partial-000000006", ours / "attempt-0001/partial-000000006")
    assert done.is_done(tiny.inputs(root).layout, "tiny/box", "b" * 32, {}).partial is None
    capsys.readouterr()
    run(other, tiny.inputs(root, "b" * 32))
    said = capsys.readouterr().out
    assert (
        f"partial-000000006/partial.json: expected a checkpoint of key {'b' * 32}, found one of key {'a' * 32}" in said
    )
    assert "no checkpoint is whole; begins at the start" in said
    found = [(folder / BOX / manifest.NAME).read_bytes() for folder in (root, root / "undisturbed")]
    assert found[0] == found[1]


def test_the_end_of_a_phase_of_another_key_is_not_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "PhaseData", tiny.Data)
    parts = (tiny.phase("next_token"), tiny.phase("next_token", name="late", clock_start=tiny.phase("sft").budget))
    stage = tiny.stage({"llm": tiny.LLAMA}, parts, ("llm",))
    run(stage, tiny.inputs(tmp_path, phases=2))
    inputs = tiny.inputs(tmp_path, "b" * 32, phases=2)
    moved = replace(inputs, phase_keys=("c" * 32, "d" * 32))
    shutil.copytree(inputs.layout.phase_end(f"{1:032x}"), inputs.layout.phase_end("c" * 32))
    capsys.readouterr()
    run(stage.model_copy(update={"seed": 8}), moved)
    said = capsys.readouterr().out
    assert f"expected a checkpoint of key {'c' * 32}, found one of key {1:032x}" in said
    assert "begins at the start" in said


def test_the_damaged_end_of_a_shared_phase_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "PhaseData", tiny.Data)
    parts = (tiny.phase("next_token"), tiny.phase("next_token", name="late", clock_start=tiny.phase("sft").budget))
    stage = tiny.stage({"llm": tiny.LLAMA}, parts, ("llm",))
    run(stage, tiny.inputs(tmp_path, phases=2))
    end = tiny.inputs(tmp_path, phases=2).layout.phase_end(f"{1:032x}")
    flip(end / "weights.safetensors")
    capsys.readouterr()
    run(stage, tiny.inputs(tmp_path, "b" * 32, phases=2))
    said = capsys.readouterr().out
    assert f"passed over: {end / 'weights.safetensors'}: expected blake3" in said
    assert "begins at the start" in said


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_a_damaged_evaluation_of_what_was_received_is_made_again(
    damage: Any, root: Path, capsys: pytest.CaptureFixture[str], stopped: tuple[Path, bytes]
) -> None:
    path = root / RUNS / "attempt-0001/before.json"
    damage(path)
    said = go_on(root, capsys)
    assert (str(path) in said) == path.exists()
    assert (root / BOX / manifest.NAME).read_bytes() == stopped[1]


@pytest.mark.parametrize("name", ["attempt.json", "before.json"])
def test_what_may_not_be_read_is_named_and_nothing_is_computed_in_its_place(
    name: str, root: Path, stopped: tuple[Path, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, read = root / RUNS / "attempt-0001" / name, json_file.read_bytes

    def refuse(there: Path, *limit: int) -> bytes:
        if there == path:
            raise PermissionError(13, "Permission denied", str(path))
        return read(there, *limit)

    monkeypatch.setattr(json_file, "read_bytes", refuse)
    with pytest.raises(PermissionError, match=name):
        run(tiny.make("next_token"), tiny.inputs(root))


@pytest.mark.parametrize(("code", "known"), [(evaluated_by.SAME[-1], True), ("0" * 16, False)])
def test_an_evaluation_by_earlier_code_that_gives_the_same_numbers_is_not_made_again(
    code: str, known: bool, tmp_path: Path
) -> None:
    inputs, asked = tiny.inputs(tmp_path), {"evaluation": {"code": evaluated_by.code(), "samples": 2}, "key": "a"}
    with attempts.start(inputs.layout, "tiny/box", inputs.key, {}) as attempt:
        resume.keep_evaluated(attempt, {**asked, "evaluation": {"code": code, "samples": 2}}, {"loss": 1.5})
        assert resume.evaluated(inputs, asked) == ({"loss": 1.5} if known else None)


def test_a_clock_that_runs_backwards_changes_nothing(
    root: Path, stopped: tuple[Path, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look at it shows an hour less, and files are dated before those that were written earlier."""
    hours = itertools.count(1)
    began, utime = time.time(), os.utime
    monkeypatch.setattr(time, "time", lambda: began - 3600 * next(hours))
    monkeypatch.setattr(os, "utime", lambda path, *_: utime(path, (time.time(), time.time())))
    run(tiny.make("next_token"), tiny.inputs(root))
    assert (root / BOX / manifest.NAME).read_bytes() == stopped[1]
    assert done.is_done(tiny.inputs(root).layout, "tiny/box", "a" * 32, {}, deep=True).done
