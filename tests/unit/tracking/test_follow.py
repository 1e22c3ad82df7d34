"""What is sent to a tracker: every step once, whatever attempts, processes and trackers do in between."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from stages.spec.project import Project
from stages.store import attempts, live
from stages.store.layout import Layout
from stages.store.manifest import Parent
from stages.tracking import backends, follow, settings
from stages.tracking.run import Run, measured
from tests.unit.report.make import ouro_like, write_result
from tests.unit.spec import small_project

KEY = "1".rjust(32, "0")  # of what write_result writes
COLUMNS = ("phase", "step", "tokens", "loss", "entropy")


class Tracker:
    """Remembers what it is sent."""

    id = "mine"
    steps: list[tuple[int, dict[str, float]]]
    ended: list[tuple[dict[str, float], str]]
    end: int
    known: list[str | None]
    broken = False
    has = 0
    lost = False  # whether what was sent to it is gone

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if self.broken:
            raise ConnectionError("nobody there")
        self.steps.append((step, dict(values)))

    def flush(self) -> None:
        pass

    def finish(self, step: int, values: Mapping[str, float], state: str) -> None:
        self.ended.append((dict(values), state))
        self.end = step


@pytest.fixture
def tracker(monkeypatch: pytest.MonkeyPatch) -> Tracker:
    made = Tracker()
    made.steps, made.ended, made.known = [], [], []

    def make(settings: object, name: str, root: Path, run: Run, known: str | None, sent: int) -> Tracker:
        made.known.append(known)
        made.has = 0 if made.lost else sent
        return made

    monkeypatch.setattr(backends, "make", make)
    monkeypatch.setattr(backends, "gone", lambda *_: made.lost)
    return made


@pytest.fixture
def run(tmp_path: Path) -> Run:
    (tmp_path / settings.FILE).write_text("tensorboard: {folder: tb}\nwandb: {project: p, folder: w, mode: offline}\n")
    return Run(Layout(tmp_path, "mini"), "ouro/warmup", KEY)


def rows(run: Run, attempt: int, steps: range) -> live.Rows:
    folder = run.layout.run(run.key) / f"attempt-{attempt:04d}"
    folder.mkdir(parents=True, exist_ok=True)
    made = live.Rows(folder)
    for step in steps:
        made.add(COLUMNS, {"phase": "main", "step": step, "tokens": 100 * step, "loss": 5 - step / 10}, 0.5)
    made.flush()
    return made


def sent(tracker: Tracker) -> list[int]:
    return [step for step, _ in tracker.steps]


def test_every_row_is_sent_once_as_it_comes(run: Run, tracker: Tracker) -> None:
    growing = rows(run, 1, range(1, 4))
    sender = follow.Sender(run.layout.root, run, "tensorboard")
    assert sender.send() == 3
    assert sender.send() == 0
    growing.add(COLUMNS, {"phase": "main", "step": 4, "tokens": 400, "loss": 4.6}, 0.5)
    growing.flush()
    assert sender.send() == 1
    assert sent(tracker) == [1, 2, 3, 4]
    assert tracker.steps[-1][1] == {"tokens": 400.0, "loss": 4.6, "tokens_per_second": 200.0}


def test_steps_that_a_later_attempt_repeats_are_not_sent_again(run: Run, tracker: Tracker) -> None:
    rows(run, 1, range(1, 6))
    sender = follow.Sender(run.layout.root, run, "tensorboard")
    sender.send()
    rows(run, 2, range(4, 9))
    sender.send()
    assert sent(tracker) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_later_process_goes_on_with_the_same_run(run: Run, tracker: Tracker) -> None:
    rows(run, 1, range(1, 4))
    follow.Sender(run.layout.root, run, "tensorboard").send()
    rows(run, 2, range(4, 6))
    follow.Sender(run.layout.root, run, "tensorboard").send()
    assert sent(tracker) == [1, 2, 3, 4, 5]
    assert tracker.known == [None, "mine"]


def test_evaluations_are_at_the_last_step_also_where_a_later_process_sends_nothing_else(
    run: Run, tracker: Tracker
) -> None:
    rows(run, 1, range(1, 4))
    follow.Sender(run.layout.root, run, "tensorboard").send()
    follow.Sender(run.layout.root, run, "tensorboard").finish()
    assert (sent(tracker), tracker.end) == ([1, 2, 3], 3)


def test_what_a_tracker_has_lost_is_sent_again(run: Run, tracker: Tracker) -> None:
    """Its folder was removed, or a full disk cut its files off."""
    rows(run, 1, range(1, 4))
    follow.Sender(run.layout.root, run, "tensorboard").send()
    tracker.lost = True
    follow.Sender(run.layout.root, run, "tensorboard").send()
    assert sent(tracker) == [1, 2, 3, 1, 2, 3]


def test_what_was_sent_to_another_place_is_sent_again(run: Run, tracker: Tracker) -> None:
    rows(run, 1, range(1, 4))
    follow.Sender(run.layout.root, run, "tensorboard").send()
    (run.layout.root / settings.FILE).write_text("tensorboard: {folder: elsewhere}\n")
    follow.Sender(run.layout.root, run, "tensorboard").send()
    assert (sent(tracker), tracker.known) == ([1, 2, 3, 1, 2, 3], [None, None])


@pytest.mark.parametrize("uri", ["m", "file://{root}/m", "{root}/m"])
def test_a_removed_folder_has_nothing_and_a_server_is_not_looked_at(tmp_path: Path, uri: str) -> None:
    (tmp_path / settings.FILE).write_text(
        f"tensorboard: {{folder: tb}}\nmlflow: {{uri: '{uri.format(root=tmp_path)}', experiment: e}}\n"
    )
    chosen, events = settings.load(tmp_path), tmp_path / "tb/mini/ouro/warmup/1234/events.out"
    assert backends.gone(chosen, "tensorboard", tmp_path, str(events.parent))
    assert backends.gone(chosen, "mlflow", tmp_path, "abc")
    for path in (events, tmp_path / "m/0/abc/meta.yaml"):
        path.parent.mkdir(parents=True)
        path.write_text("")
    assert not backends.gone(chosen, "tensorboard", tmp_path, str(events.parent))
    assert not backends.gone(chosen, "mlflow", tmp_path, "abc")
    (tmp_path / settings.FILE).write_text("mlflow: {uri: 'http://127.0.0.1:9', experiment: e}\n")
    assert not backends.gone(settings.load(tmp_path), "mlflow", tmp_path, "abc")


def test_what_could_not_be_sent_is_sent_by_the_next_process(run: Run, tracker: Tracker) -> None:
    rows(run, 1, range(1, 4))
    tracker.broken = True
    with pytest.raises(ConnectionError):
        follow.Sender(run.layout.root, run, "tensorboard").send()
    tracker.broken = False
    follow.Sender(run.layout.root, run, "tensorboard").send()
    assert sent(tracker) == [1, 2, 3]


@pytest.mark.parametrize("text", ["", "{", '{"id": 3}', '{"id": "x", "step": -1}'])
def test_a_damaged_note_of_what_was_sent_begins_anew(run: Run, tracker: Tracker, text: str) -> None:
    rows(run, 1, range(1, 3))
    (run.layout.run(run.key) / "tracking-wandb.json").write_text(text)
    follow.Sender(run.layout.root, run, "wandb").send()
    assert sent(tracker) == [1, 2]


def test_the_end_has_the_evaluations_and_how_it_ended(run: Run, tracker: Tracker) -> None:
    rows(run, 1, range(1, 3))
    evaluated = {"validation": {"loss": 3.25, "by_corpus": {"code": 4.5}}, "needle": {"grid": [{"accuracy": 1.0}]}}
    write_result(run.layout.root, ouro_like("mini")["warmup"], after=evaluated)  # four steps in its metrics.csv
    follow.Sender(run.layout.root, run, "wandb").finish()
    assert sent(tracker) == [1, 2, 3, 4]
    assert tracker.ended == [({"after/validation.loss": 3.25, "after/validation.by_corpus.code": 4.5}, "FINISHED")]
    known = follow.sent(run.layout.root, run, "wandb")
    assert known is not None
    assert known.ended


@pytest.mark.parametrize(("stopped", "state"), [(True, "KILLED"), (False, "FAILED")])
def test_a_run_without_a_result_was_stopped_or_failed(run: Run, tracker: Tracker, stopped: bool, state: str) -> None:
    rows(run, 1, range(1, 3))
    finding = {"message": "m", "step": 2, "stopped": stopped, "repeats": False}
    (attempts.folders(run.layout, run.key)[0] / attempts.FINDING).write_text(json.dumps(finding))
    follow.Sender(run.layout.root, run, "wandb").finish()
    assert tracker.ended == [({}, state)]
    known = follow.sent(run.layout.root, run, "wandb")
    assert known is not None
    assert not known.ended  # a later attempt goes on with it


def test_the_result_of_another_key_is_none_of_this_runs(run: Run, tracker: Tracker) -> None:
    write_result(run.layout.root, ouro_like("mini")["warmup"])
    other = Run(run.layout, run.ref, "f" * 32)
    rows(other, 1, range(1, 2))
    follow.Sender(run.layout.root, other, "wandb").finish()
    assert tracker.ended == [({}, "FAILED")]


def test_rows_go_on_until_the_run_ends_and_then_the_rest_is_sent(
    run: Run, tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "EVERY", 0.01)
    growing = rows(run, 1, range(1, 3))
    looks = iter([True, True, False])

    def goes_on() -> bool:
        on = next(looks)
        if not on:  # rows of the run's last moments
            growing.add(COLUMNS, {"phase": "main", "step": 3, "tokens": 300, "loss": 4.7}, 0.5)
            growing.flush()
        return on

    follow.follow(run.layout.root, run, "wandb", goes_on)
    assert sent(tracker) == [1, 2, 3]
    assert len(tracker.ended) == 1


def test_a_run_is_named_by_pipeline_stage_scale_and_key_and_knows_its_parents(run: Run) -> None:
    assert run.name == f"ouro/warmup@mini {KEY[:8]}"
    assert run.tags == {"pipeline": "ouro", "stage": "warmup", "scale": "mini", "key": KEY}
    parents = {"ouro/base": Parent(key="b" * 32, manifest="c" * 64)}
    with attempts.start(run.layout, run.ref, run.key, parents):
        assert run.parents() == parents


def test_a_row_gives_its_numbers_and_the_speed_since_the_row_before() -> None:
    row = {"phase": "main", "step": "7", "tokens": "700", "loss": "nan?", "lr": "1e-3", "entropy": "", "seconds": "0.5"}
    assert measured(row, None) == {"tokens": 700.0, "lr": 1e-3}
    assert measured(row, {"tokens": "600"})["tokens_per_second"] == 200.0


def test_the_command_sends_what_is_missing_once(
    tmp_path: Path, tracker: Tracker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from stages.commands.track import track
    from stages.errors import UserError

    monkeypatch.chdir(small_project.write(tmp_path))
    with pytest.raises(UserError, match="names no tracker"):
        track((), "mini")
    (tmp_path / settings.FILE).write_text("tensorboard: {folder: tb}\n")
    monkeypatch.setattr(settings, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'stages\[tensorboard\]'"):
        track((), "mini")
    monkeypatch.setattr(settings, "find_spec", lambda name: object())
    run = Run(Layout(tmp_path, "mini"), "toy/first", Project.load(tmp_path).keys("mini")["toy/first"])
    rows(run, 1, range(1, 4))
    assert track(["toy/first"], "mini") == 0
    assert capsys.readouterr().out == "toy/first: 3 steps to tensorboard\n"
    tracker.broken = True
    rows(run, 2, range(4, 6))
    assert track(["toy"], "mini") == 1
    assert "toy/first: not sent: tensorboard: ConnectionError: nobody there" in capsys.readouterr().out


def test_the_command_sends_a_finished_run_again_after_its_folder_was_removed(
    tmp_path: Path, tracker: Tracker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from stages.commands.track import track

    monkeypatch.chdir(small_project.write(tmp_path))
    (tmp_path / settings.FILE).write_text("tensorboard: {folder: tb}\n")
    monkeypatch.setattr(settings, "find_spec", lambda name: object())
    run = Run(Layout(tmp_path, "mini"), "toy/first", Project.load(tmp_path).keys("mini")["toy/first"])
    rows(run, 1, range(1, 4))
    state = {"id": "mine", "step": 3, "ended": True, "place": "tb"}
    (run.layout.run(run.key) / "tracking-tensorboard.json").write_text(json.dumps(state))
    assert track(["toy/first"], "mini") == 0
    assert capsys.readouterr().out == "every tracker has what there is at mini\n"
    tracker.lost = True
    assert track(["toy/first"], "mini") == 0
    assert capsys.readouterr().out == "toy/first: 3 steps to tensorboard\n"
