"""What a run makes of a node that answers no longer. The job is a stand-in's; tests/slurm has real ones."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from stages.cluster.slurm import SilentNodeError
from stages.commands import in_job
from stages.errors import UserError
from tests.unit.cluster.conftest import Command
from tests.unit.cluster.own_job import CONFIG, LOST, described, job, requeued

pytestmark = pytest.mark.usefixtures("vanished")


def test_a_signal_while_slurm_finds_a_node_down_does_not_end_the_wait(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm's end of the job may begin with it."""
    monkeypatch.setattr(in_job, "LATER", 0.2)
    clock = iter(range(100))

    def sleep(seconds: float) -> None:
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(in_job, "time", SimpleNamespace(sleep=sleep, monotonic=lambda: 0.05 * next(clock)))
    job(command)
    command("scontrol", f"{CONFIG % 1}\n{described()}")
    with pytest.raises(SilentNodeError), in_job.looked_after("p/s", "7", tmp_path, ahead=10.0):
        raise LOST


def lose(folder: Path, came_further: bool) -> None:
    if came_further:
        (folder / "attempt-0001/partial-000000010").mkdir(parents=True)
    raise LOST


@pytest.mark.parametrize(
    ("seconds", "ends", "left", "came_further", "goes_back", "waits"),
    [
        (300, True, "5:00", False, False, True),
        (1, False, "5:00", True, True, True),
        (1, False, "5:00", False, False, False),
        (300, False, "0:05", True, True, True),
    ],
    ids=["Slurm finds it down", "the node is well", "again and again", "before the time limit"],
)
def test_a_silent_node_is_left_to_slurm_as_long_as_it_may_be_found_down(
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    vanished: list[str],
    seconds: int,
    ends: bool,
    left: str,
    came_further: bool,
    goes_back: bool,
    waits: bool,
) -> None:
    """Only a turn with a new checkpoint goes back by itself: no job goes back for ever."""
    monkeypatch.setattr(in_job, "POLL", 0.1)
    monkeypatch.setattr(in_job, "ENDING", 20.0)
    monkeypatch.setattr(in_job.time, "sleep", lambda seconds, sleep=time.sleep: sleep(min(seconds, 0.1)))
    (tmp_path / "up").touch()
    state = f"$(if [ -e {tmp_path}/up ]; then echo RUNNING; else echo COMPLETING; fi)"
    command("squeue", f'echo "7|{state}||{left}|n1|None|/p"')
    command("scontrol", f"{CONFIG % seconds}; {described(state)}")
    if ends:
        threading.Timer(1.0, (tmp_path / "up").unlink).start()
    with pytest.raises(SilentNodeError), in_job.looked_after("p/s", "7", tmp_path, ahead=1.0):
        lose(tmp_path, came_further)
    assert requeued(tmp_path) == goes_back
    assert vanished == ["vanished"] * waits, "where Slurm ends the job, Snakemake must see no failure"
    assert f"p/s: job 7: no answer from n2: waiting up to {seconds * 1.5:.0f} s for Slurm" in capsys.readouterr().err


def test_a_job_that_may_not_be_requeued_fails_with_what_was_lost(command: Command, tmp_path: Path) -> None:
    job(command)
    command(
        "scontrol",
        "if [ $1 = requeue ]; then echo 'presently disabled' >&2; exit 1; fi; " + f"{CONFIG % 0}; {described()}",
    )
    with (
        pytest.raises(UserError, match=r"lost the ranks on n2 .* could not go back into the queue: .*disabled"),
        in_job.looked_after("p/s", "7", tmp_path, ahead=10.0),
    ):
        lose(tmp_path, came_further=True)
