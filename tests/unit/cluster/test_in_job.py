"""What a run makes of the end of its job's time. The job is a stand-in's; tests/slurm has real ones."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from stages.cluster.slurm import SlurmError
from stages.commands import in_job
from stages.errors import UserError
from stages.train.stopping import ASKING, StoppedError
from tests.unit.cluster.conftest import Command
from tests.unit.cluster.own_job import CONFIG, LOST, described, job, requeued

pytestmark = pytest.mark.usefixtures("vanished")
STOPPED = StoppedError("p/s: stopped after step 3")


def train(folder: Path) -> None:
    """Write a checkpoint once Slurm was asked how long the job may run, and go on."""
    while "squeue" not in (folder / "bin/asked").read_text():
        time.sleep(0.01)
    (folder / "attempt-0001/partial-000000010").mkdir(parents=True)
    time.sleep(60)


def test_near_the_limit_a_stage_is_stopped_and_its_job_requeued(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], vanished: list[str]
) -> None:
    job(command)
    # Three seconds are left until there is a checkpoint, then one: the mark is at half of the three.
    command(
        "squeue",
        f"[ $(grep -c squeue {tmp_path}/bin/asked) = 1 ] || [ ! -d {tmp_path}/attempt-0001 ] && left=3 || left=1\n"
        'echo "7|RUNNING||0:0$left|n1|None|/p"',
    )
    with (
        pytest.raises(StoppedError, match="p/s: stopped while nothing was trained"),
        in_job.looked_after("p/s", "7", tmp_path, ahead=10.0),
    ):
        train(tmp_path)
    assert requeued(tmp_path)
    assert vanished == ["vanished"]
    said = capsys.readouterr().err
    assert "p/s: job 7: its time limit is near: stopping at a checkpoint, to go on in the queue." in said
    assert "p/s: job 7: going back into the queue, to continue from the last checkpoint." in said


@pytest.mark.parametrize(
    ("error", "state", "preempted", "goes_back"),
    [
        (UserError("loss is nan"), "RUNNING", "None", False),
        (STOPPED, "RUNNING", "None", False),
        (STOPPED, "COMPLETING", "2026-11-21T09:00:00", False),
        (STOPPED, "RUNNING", "2026-11-21T09:00:00", True),
    ],
    ids=["failed for good", "somebody's SIGTERM", "cancelled or requeued by Slurm", "told to make room"],
)
def test_only_what_is_to_go_on_goes_back(
    command: Command, tmp_path: Path, error: UserError, state: str, preempted: str, goes_back: bool, vanished: list[str]
) -> None:
    job(command, state, preempted=preempted)
    with pytest.raises(UserError) as raised, in_job.looked_after("p/s", "7", tmp_path, ahead=10.0):
        raise error
    assert raised.value is error
    assert requeued(tmp_path) == goes_back
    assert vanished == ["vanished"] * goes_back, "a stage's own error is reported, and Snakemake ends with an error"


def test_a_job_that_slurm_does_not_take_back_says_so(command: Command, tmp_path: Path) -> None:
    job(command, preempted="2026-11-21T09:00:00")
    command(
        "scontrol",
        'if [ $1 = requeue ]; then echo "Requested operation is presently disabled for job 7" >&2; exit 1; fi;'
        + described(preempted="2026-11-21T09:00:00"),
    )
    with (
        pytest.raises(StoppedError, match=r"after step 3 The job could not go back into the queue: .*disabled for job"),
        in_job.looked_after("p/s", "7", tmp_path, ahead=10.0),
    ):
        raise STOPPED


LEASE = '{"host": "n2", "pid": 1, "started": 0.0, "token": 1, "job": "%s", "nodes": ["n2"]}'


@pytest.mark.parametrize(
    ("left_behind", "text", "goes_back"),
    [
        ("attempt-0002/partial-000000020/weights", "", True),
        ("attempt-0002/progress.json", "", False),
        ("lease.json", LEASE % "6", True),
        ("lease.json", LEASE % "7", False),
    ],
    ids=["wrote a checkpoint", "wrote none", "waits for another job", "evaluates"],
)
def test_what_does_not_stop_is_cut_off_if_another_turn_can_come_further(
    command: Command, tmp_path: Path, left_behind: str, text: str, goes_back: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """An evaluation at the end may take longer than is kept free; one that takes a whole job would never end."""
    job(command)
    (tmp_path / "attempt-0001/partial-000000010").mkdir(parents=True)
    turn = in_job.Turn("p/s", "7", tmp_path)
    path = tmp_path / left_behind
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    turn.cut()
    assert requeued(tmp_path) == goes_back
    assert ("another turn would come no further" in capsys.readouterr().err) != goes_back


@pytest.mark.parametrize(
    "error", [STOPPED, LOST, UserError("loss is nan")], ids=["asked to stop", "node lost", "failed"]
)
def test_what_a_frozen_node_left_behind_leaves_the_next_turn_alone(
    command: Command, tmp_path: Path, error: UserError, vanished: list[str]
) -> None:
    """It says nothing to Snakemake either, which would clear away what the next turn has made."""

    def wake_up() -> None:
        command("scontrol", f"{CONFIG % 1}; {described(preempted='2026-11-21T09:00:00', restarts=1)}")
        raise error

    job(command)
    (tmp_path / "attempt-0001/partial-000000010").mkdir(parents=True)
    with pytest.raises(UserError), in_job.looked_after("p/s", "7", tmp_path, ahead=10.0):
        wake_up()
    assert vanished == ["vanished"]
    assert not requeued(tmp_path)


def test_two_that_put_a_job_back_do_so_once(command: Command, tmp_path: Path) -> None:
    """The mark near the limit and the run's own end may come together; a second requeue would end the next turn."""
    job(command)
    turn = in_job.Turn("p/s", "7", tmp_path)
    both = [threading.Thread(target=turn.put_back) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert (tmp_path / "bin/asked").read_text().count("scontrol requeue 7") == 1


def test_a_job_that_slurm_refused_to_take_back_may_be_put_back_later(command: Command, tmp_path: Path) -> None:
    """Else its run would end without a word, as if it was in the queue."""
    job(command)
    command("scontrol", f'{described()}\nif [ $1 = requeue ]; then echo "disabled" >&2; exit 1; fi')
    turn = in_job.Turn("p/s", "7", tmp_path)
    with pytest.raises(SlurmError, match="disabled"):
        turn.put_back()
    assert not turn.requeued.is_set()
    command("scontrol", described())
    turn.put_back()
    assert turn.requeued.is_set()


def test_what_has_not_stopped_is_cut_off_in_the_last_third_of_the_time_kept_free(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = []
    monkeypatch.setattr(in_job.deadline, "watching", lambda job, marks: kept.extend(marks) or nullcontext())
    job(command)
    with in_job.looked_after("p/s", "7", tmp_path, ahead=90.0):
        pass
    assert [(seconds, act.__name__) for seconds, act in kept] == [(90.0, "stop"), (30.0, "cut")]


def test_sigterm_after_a_requeue_changes_nothing(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm ends what it has requeued: the process waits for that, whatever signals come first."""
    waits = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(in_job, "ENDING", 2.0)
    job(command, preempted="2026-11-21T09:00:00")
    monkeypatch.setattr(in_job, "time", SimpleNamespace(sleep=sleep))  # nobody else's: subprocess sleeps, too
    with pytest.raises(StoppedError) as raised, in_job.looked_after("p/s", "7", tmp_path, ahead=10.0):
        raise STOPPED
    assert waits == [2.0]
    assert raised.value is STOPPED
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize("number", ASKING, ids=lambda number: number.name)
def test_what_asks_for_a_stop_before_there_are_ranks_stops_the_job(
    number: signal.Signals, command: Command, tmp_path: Path
) -> None:
    """As with `scancel --signal=USR1 --full`, or a site's signal ahead of the limit."""
    inherited = signal.signal(number, signal.SIG_DFL)
    try:
        job(command)
        with (
            pytest.raises(StoppedError, match="p/s: stopped while nothing was trained"),
            in_job.looked_after("p/s", "7", tmp_path, ahead=10.0),
        ):
            signal.raise_signal(number)
        assert signal.getsignal(number) == signal.SIG_DFL
        assert not requeued(tmp_path)
    finally:
        signal.signal(number, inherited)
