"""A checkpoint that is written while training goes on is the one that a waiting run writes, and nobody overtakes it."""

from __future__ import annotations

import csv
import errno
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.contract import ledger
from stages.engines import checkpoints, results, run, training
from stages.errors import UserError
from stages.models.build import build
from stages.store import files, json_file, manifest, partials, trees
from stages.store.digest import Written, digest_bytes
from stages.store.disk import Disk
from stages.train import checkpoint, loop, replicated
from stages.train.stopping import StoppedError
from tests.unit.train import tiny
from tests.unit.train.beginning import begin

BOX = "results/mini/tiny/box"
ATTEMPT = f"results/.runs/{'a' * 32}/attempt-0001"
PATIENCE = 60.0  # seconds until a test gives up on what should happen at once

Steps = Callable[[int], None]


class Broken(tiny.Data):
    """Ends in the seventh step, with checkpoints after the third and the sixth."""

    def samples(self, first: int, count: int, tail: int) -> list[Any]:
        if first == 32:
            raise UserError("the corpus went away")
        return super().samples(first, count, tail)


class Slow(Disk):
    """Takes nothing from the thread that writes checkpoints until it is let go."""

    def __init__(self) -> None:
        self.gate, self.came = threading.Event(), threading.Event()

    def create(self, path: Path, exclusive: bool = False) -> int:
        if threading.current_thread().name == "checkpoint":
            self.came.set()
            assert self.gate.wait(PATIENCE), "training did not go on"
        return super().create(path, exclusive)


@pytest.fixture
def background(monkeypatch: pytest.MonkeyPatch, made_up_data: None) -> None:
    monkeypatch.setattr(checkpoints, "in_background", lambda device: True)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    disk = Slow()
    monkeypatch.setattr(files, "disk", disk)
    return disk


@pytest.fixture
def after(monkeypatch: pytest.MonkeyPatch) -> Callable[[Steps], None]:
    """Have something called with the number of each step that is done."""

    def install(what: Steps) -> None:
        def record(run: Any, phase: Any, objective: Any, counters: Any, *rest: Any) -> None:
            recorded(run, phase, objective, counters, *rest)
            what(counters.steps)

        monkeypatch.setattr(loop, "record", record)

    recorded = loop.record
    return install


def rows(folder: Path) -> list[int]:
    with (folder / "metrics.csv").open(newline="") as file:
        return [int(row["step"]) for row in csv.DictReader(file)]


def partial(root: Path, step: int) -> Path:
    return root / ATTEMPT / f"partial-{step:09d}"


@pytest.mark.parametrize("objective", ["next_token", "moe", "coca"])
def test_a_run_that_goes_on_meanwhile_has_the_bits_and_the_checkpoints_of_one_that_waits(
    objective: str, tmp_path: Path, made_up_data: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, found = tiny.make(objective), []
    for aside in (False, True):
        root = tmp_path / str(aside)
        monkeypatch.setattr(checkpoints, "in_background", lambda device, aside=aside: aside)
        with monkeypatch.context() as patch:
            patch.setattr(partials, "clear", lambda *_: None)
            run(stage, tiny.inputs(root))
        kept = {
            f"{folder.name}/{file}": (folder / file).read_bytes()
            for folder in partials.listed(root / ATTEMPT)
            for file in trees.files_under(folder)
            if file not in ("timing.csv", partials.NAME)  # its seconds differ, and the digest of them
        }
        assert all(partials.valid(folder) for folder in partials.listed(root / ATTEMPT))
        found.append((kept, (root / BOX / manifest.NAME).read_bytes()))
    assert found[0] == found[1]
    assert len(found[0][0]) >= 14


def test_training_goes_on_while_a_slow_disk_takes_a_checkpoint_that_has_only_its_own_steps(
    tmp_path: Path, background: None, slow: Slow, after: Callable[[Steps], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step before the next checkpoint is done before the disk takes the first byte."""
    after(lambda step: slow.gate.set() if step == 5 else None)
    monkeypatch.setattr(training, "PhaseData", Broken)
    with pytest.raises(UserError, match="went away"):
        run(tiny.make("next_token"), tiny.inputs(tmp_path))
    assert rows(partial(tmp_path, 3)) == [1, 2, 3]
    assert rows(partial(tmp_path, 6)) == [1, 2, 3, 4, 5, 6]
    assert partials.valid(partial(tmp_path, 3))
    monkeypatch.setattr(checkpoints, "in_background", lambda device: False)
    with pytest.raises(UserError, match="went away"):
        run(tiny.make("next_token"), tiny.inputs(tmp_path / "waiting"))
    for file in ("weights.safetensors", "optimizer.safetensors", "counters.json"):
        waited = (partial(tmp_path / "waiting", 3) / file).read_bytes()
        assert (partial(tmp_path, 3) / file).read_bytes() == waited


def test_no_two_checkpoints_are_in_flight_and_none_is_when_the_result_is_put_in_place(
    tmp_path: Path, background: None, slow: Slow, after: Callable[[Steps], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    flying, most, told = 0, 0, list[str]()
    save, complete = partials.save, results.complete

    def counted(folder: Path, write: Callable[[Path], object]) -> Path:
        nonlocal flying, most
        flying, most = flying + 1, max(most, flying + 1)
        made = save(folder, write)
        told.append(folder.name)
        flying -= 1
        return made

    def completed(*args: Any, **more: Any) -> str:
        assert flying == 0
        assert told[-1] == "partial-000000006"
        return complete(*args, **more)

    monkeypatch.setattr(partials, "save", counted)
    monkeypatch.setattr(results, "complete", completed)
    after(lambda step: threading.Timer(0.2, slow.gate.set).start() if step == 6 else None)
    run(tiny.make("next_token"), tiny.inputs(tmp_path))
    assert most == 1
    assert (told, flying) == (["partial-000000003", "partial-000000006"], 0)


def test_a_request_to_stop_waits_for_the_checkpoint_in_flight_and_for_its_own(
    tmp_path: Path, background: None, slow: Slow, after: Callable[[Steps], None], signals: None
) -> None:
    def ask(step: int) -> None:
        if step == 4:
            assert slow.came.wait(PATIENCE)
            os.kill(os.getpid(), signal.SIGTERM)
            threading.Timer(0.2, slow.gate.set).start()

    after(ask)
    with pytest.raises(StoppedError, match="partial-000000004"):
        run(tiny.make("next_token"), tiny.inputs(tmp_path))
    assert [partials.valid(partial(tmp_path, step)) for step in (3, 4)] == [True, True]
    assert rows(partial(tmp_path, 3)) == [1, 2, 3]


def test_a_full_disk_ends_the_run_at_the_next_step_with_the_message_of_a_run_that_waits(
    tmp_path: Path, made_up_data: None, after: Callable[[Steps], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(Disk):
        def write(self, handle: int, data: memoryview) -> int:
            if "partial-" in os.readlink(f"/proc/self/fd/{handle}"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().write(handle, data)

    done: list[int] = []
    said: list[str] = []

    def ended(step: int) -> None:
        """The thread has met its error before this step's end is looked at."""
        done.append(step)
        for thread in threading.enumerate():
            if thread.name == "checkpoint":
                thread.join(PATIENCE)

    after(ended)
    for aside in (False, True):
        monkeypatch.setattr(checkpoints, "in_background", lambda device, aside=aside: aside)
        monkeypatch.setattr(files, "disk", Full())
        with pytest.raises(files.WriteError) as caught:
            run(tiny.make("next_token"), tiny.inputs(tmp_path / "project"))
        said.append(str(caught.value))
        assert done[-1] == (4 if aside else 3)
        monkeypatch.setattr(files, "disk", Disk())
        assert not list((tmp_path / "project").rglob("partial-*"))
        trees.remove_tree(tmp_path / "project")
    assert said[0] == said[1]
    assert "weights.safetensors: cannot be written (No space left on device)" in said[0]


def test_rows_that_come_while_a_checkpoint_is_written_are_not_in_it(tmp_path: Path) -> None:
    for name in (checkpoint.METRICS, checkpoint.TIMING):
        (tmp_path / name).write_bytes(b"step\n1\n2\n")
    then = {name: Written(len(data), digest_bytes(data)) for name, data in (
        (checkpoint.METRICS, b"step\n1\n"), (checkpoint.TIMING, b"step\n"),
    )}  # fmt: skip
    held = checkpoint.Held({}, {}, None, checkpoint.Counters(0, 1, 1, 1, 1, 1), then)
    (tmp_path / "checkpoint").mkdir()
    checkpoint.save(tmp_path / "checkpoint", held, tmp_path)
    assert (tmp_path / "checkpoint" / checkpoint.METRICS).read_bytes() == b"step\n1\n"
    assert (tmp_path / "checkpoint" / checkpoint.TIMING).read_bytes() == b"step\n"
    with pytest.raises(files.WriteError, match=r"metrics.csv: cannot be written \(.*has 9 bytes, 10 were written"):
        checkpoint.save(tmp_path / "checkpoint", replace(held, tables={checkpoint.METRICS: Written(10, "")}), tmp_path)


def test_blocking_and_writing_seconds_are_recorded(tmp_path: Path, background: None) -> None:
    run(tiny.make("next_token"), tiny.inputs(tmp_path))
    seconds = json_file.read(tmp_path / BOX / "run.json")["seconds"]["checkpoints"]
    assert set(seconds) == {"training_waited", "written"}
    assert 0 < seconds["written"] < PATIENCE
    assert 0 < seconds["training_waited"] < PATIENCE


@pytest.mark.parametrize("objective", [*tiny.OBJECTIVES, "moe"])
def test_what_a_checkpoint_holds_changes_in_updates_only(objective: str) -> None:
    """So that a GPU may copy it beside the next forward and backward pass."""
    stage = tiny.make(objective)
    modules = build(stage)
    optimizer, made = begin(stage, modules)
    before = {name: tensor.clone() for name, tensor in {**modules.state_dict(), **optimizer.state()}.items()}
    optimizer.clip(replicated.gather(optimizer, made, ledger.step_at(stage.phases[0], 0))[0])
    after = {**modules.state_dict(), **optimizer.state()}
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
