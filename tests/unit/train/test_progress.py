"""The file that tells `stages status` how far a run is."""

from __future__ import annotations

import csv
import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.engines import run, training
from stages.store import attempts, files, live, progress
from stages.store.disk import Disk
from stages.train import progress as shown
from tests.unit.train import tiny


def test_a_finished_run_left_word_of_its_last_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "PhaseData", tiny.Data)
    inputs = tiny.inputs(tmp_path)
    before = time.time()
    run(tiny.make("next_token"), inputs)
    found = progress.latest(inputs.layout, inputs.key)
    assert found is not None
    assert (found.phase, found.step, found.steps, found.seconds_left) == ("main", 8, 8, 0.0)
    assert 0 < found.seconds_per_step < found.time - before < 600


def test_a_run_leaves_the_rows_of_all_its_steps_and_the_same_metrics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "PhaseData", tiny.Data)
    inputs = tiny.inputs(tmp_path)
    run(tiny.make("next_token"), inputs)
    rows = live.steps(inputs.layout, inputs.key)
    with (inputs.layout.stage("tiny/box") / "metrics.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == [{k: v for k, v in row.items() if k != live.SECONDS} for row in rows]
    assert [row["step"] for row in rows] == [str(step) for step in range(1, 9)]
    assert all(float(row[live.SECONDS]) > 0 for row in rows)


def test_the_rows_before_an_error_are_there(attempt: attempts.Attempt) -> None:
    with pytest.raises(ZeroDivisionError), shown.Note(attempt, 100) as note:  # noqa: PT012
        for step in range(1, 4):
            note.row(("step",), {"step": step}, 0.1)
            note.step("main", step, 0.1)
        raise ZeroDivisionError
    assert [row["step"] for row in live.read(attempt.folder)] == ["1", "2", "3"]


@pytest.fixture
def attempt(tmp_path: Path) -> Iterator[attempts.Attempt]:
    with attempts.start(tiny.inputs(tmp_path).layout, "tiny/box", "a" * 32, {}) as made:
        yield made


def test_word_is_left_at_most_every_few_seconds(attempt: attempts.Attempt, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(shown.time, "monotonic", lambda: clock[0])
    note = shown.Note(attempt, 100)
    seen = []
    for step in range(11, 31):  # two seconds a step, gone on from step 10
        clock[0] += 2.0
        note.step("main", step, 2.0)
        seen.append(progress.read(attempt.folder))
    assert {found.step for found in seen if found} == {11, 14, 17, 20, 23, 26, 29}
    last = seen[-1]
    assert last is not None
    assert last.seconds_per_step == pytest.approx(2.0)
    assert last.seconds_left == pytest.approx(71 * 2.0)


def test_a_log_has_a_line_as_a_phase_begins_as_it_ends_and_ever_rarer_between(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr(shown.time, "monotonic", lambda: clock[0])
    with shown.watching("tiny/box main", 0, 7200) as lines:
        for _ in range(7200):  # an hour, one step each half second
            clock[0] += 0.5
            lines.step(1000, 2.0, 1e-3)
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "tiny/box main 0/7200 begins"
    assert said[1] == "tiny/box main 10/7200 loss 2.000 lr 1.0e-03 2.0k tok/s eta 59:55"
    assert said[-1] == "tiny/box main 7200/7200 loss 2.000 lr 1.0e-03 2.0k tok/s done in 60:00"
    at = [int(line.split()[2].partition("/")[0]) / 2 for line in said[1:-1]]
    gaps = [after - before for before, after in itertools.pairwise(at)]
    assert (gaps == sorted(gaps), gaps[0], gaps[-1]) == (True, 5.0, 60.0)
    with shown.watching("tiny/box main", 5, 10):
        assert capsys.readouterr().err == "tiny/box main 5/10 goes on\n"
    with shown.watching("tiny/box main", 10, 10):
        assert capsys.readouterr().err == ""


def test_a_run_that_lost_its_lease_leaves_no_word(attempt: attempts.Attempt) -> None:
    lease = attempt.layout.run(attempt.key) / "lease.json"
    lease.write_text('{"host": "elsewhere", "pid": 1, "started": 0.0, "token": 99}')
    with shown.Note(attempt, 100) as note:
        note.row(("step",), {"step": 1}, 1.0)
        note.step("main", 1, 1.0)
    assert progress.read(attempt.folder) is None
    assert live.read(attempt.folder) == []


def test_a_new_phase_has_a_pace_of_its_own(attempt: attempts.Attempt, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(shown.time, "monotonic", lambda: clock[0])
    note = shown.Note(attempt, 100)
    for step, (phase, seconds) in enumerate([("short", 10.0), ("long", 30.0)], 1):
        clock[0] += seconds
        note.step(phase, step, seconds)
    found = progress.read(attempt.folder)
    assert found is not None
    assert (found.phase, found.seconds_per_step) == ("long", 30.0)


def test_a_disk_that_takes_nothing_does_not_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(Disk):
        def write(self, handle: int, data: memoryview) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "disk", Full())
    progress.write(tmp_path, "main", 1, 2, 1.0)
    assert progress.read(tmp_path) is None


def test_a_new_attempt_has_no_progress_yet(tmp_path: Path) -> None:
    layout = tiny.inputs(tmp_path).layout
    for steps in (5, 7):
        with attempts.start(layout, "tiny/box", "a" * 32, {}) as attempt:
            assert progress.latest(layout, "a" * 32) is None
            progress.write(attempt.folder, "main", 1, steps, 1.0)
    (attempt.folder / progress.NAME).write_text("{")
    assert progress.latest(layout, "a" * 32) is None
