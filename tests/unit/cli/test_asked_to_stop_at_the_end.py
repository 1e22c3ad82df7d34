"""A request to stop that comes while a run ends: the exit code says what `stages status` says."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from stages import cli
from stages.commands import chosen, find_project, run
from stages.errors import UserError
from stages.spec.project import Project
from stages.store.done import State, Verdict
from stages.train.stopping import ASKING, StoppedError
from tests.unit.train import tiny

KEY = "a" * 32
ROOT = Path(__file__).resolve().parents[3]
Train = Callable[[Callable[[], None]], None]  # is given what puts the result in place


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Train], int]:
    """`stages run tiny/box`, with this engine in the place of the real one; the exit code."""

    def typed(train: Train) -> int:
        stage = tiny.make("next_token").model_copy(update={"phases": ()})
        states: list[State] = ["missing"]
        graph = SimpleNamespace(stages={"tiny/box": stage}, keys={"tiny/box": KEY}, absent={})
        monkeypatch.setattr(find_project, "open_project", lambda _: (tmp_path, Project.load(ROOT)))
        monkeypatch.setattr(find_project.graph, "readable", lambda *_: graph)
        monkeypatch.setattr(run.Gate, "refuse", lambda *_: None)
        monkeypatch.setattr(run.trackers, "start", lambda *_: None)
        monkeypatch.setattr(chosen.done, "is_done", lambda *_, **__: Verdict("tiny/box", KEY, states[-1], ""))
        monkeypatch.setattr(run.engines, "run", lambda *_: train(lambda: states.append("done")))
        monkeypatch.setattr("sys.argv", ["stages", "run", "tiny/box"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0)

    return typed


def test_before_the_result_is_in_place_the_run_is_stopped(typed: Callable[[Train], int], tmp_path: Path) -> None:
    assert typed(lambda put: os.kill(os.getpid(), signal.SIGTERM)) == 75
    assert not list((tmp_path / "results/.markers").rglob("*"))


@pytest.mark.parametrize(
    "error",
    [StoppedError("tiny/box: stopped before its ranks had met; run it again."), UserError("rank 1 of 2 failed")],
    ids=["its last rank got SIGTERM", "a rank failed as it left"],
)
def test_once_it_is_in_place_the_stage_is_done_whatever_its_ranks_end_with(
    error: UserError, typed: Callable[[Train], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def train(put_in_place: Callable[[], None]) -> None:
        put_in_place()
        raise error

    assert typed(train) == 0
    assert f"tiny/box: done. After its result was in place: {error}" in capsys.readouterr().err
    assert (tmp_path / f"results/.markers/mini/tiny/box.{KEY}").exists()


def test_a_request_after_that_changes_nothing(typed: Callable[[Train], int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_evaluate_again", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    assert typed(lambda put_in_place: put_in_place()) == 0
    for number in ASKING:
        assert signal.getsignal(number) is signal.SIG_IGN  # else it would end pytest
        signal.raise_signal(number)
