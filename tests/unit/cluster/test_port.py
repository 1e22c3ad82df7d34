"""The port on which ranks meet stays theirs until the first rank has come to it; if it does not, they take another."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from stages.cluster.slurm import Allocation
from stages.engines import launch, local, nodes
from stages.engines.local import Exit
from stages.errors import UserError
from stages.train.ranks import joined
from stages.train.stopping import PortTakenError

# Two ranks. The first finds its port taken so many times; the other waits for it as long as a launcher would let it.
RANK = """
import os, pathlib, sys, time
if os.environ["RANK"] == "1":
    time.sleep(0 if os.path.exists("met") else 3600)
ports = pathlib.Path("ports")
seen = ports.read_text().split() if ports.exists() else []
ports.write_text(" ".join([*seen, os.environ["MASTER_PORT"]]))
if len(seen) < int(sys.argv[1]):
    print("port 1, where ranks were to meet, is in use by another program.")
    sys.exit(73)
sys.exit(0)
"""
TAKEN = [Exit(0, "n1", PortTakenError.exit_code, "port 1, where ranks were to meet, is in use by another program.")]


def test_a_port_is_given_to_nobody_else_before_the_first_rank_listens_there() -> None:
    with local.free_port() as port, socket.create_server(("", port)) as server:  # as torch does, with SO_REUSEADDR
        with socket.create_connection(("127.0.0.1", port), timeout=10):
            pass
        assert server.getsockname()[1] == port


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the port cannot be held")
def test_who_asks_for_the_port_without_sharing_it_is_refused() -> None:
    with local.free_port() as port, socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port))


def test_the_first_rank_says_that_another_program_listens_on_its_port(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("", 0)) as other:
        port = str(other.getsockname()[1])
        where = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        for name, value in where.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(PortTakenError, match=f"port {port}, where ranks were to meet, is in use"), joined(2):
            pass


def test_ranks_whose_port_was_taken_start_at_once_with_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "met").touch()
    launch.launch([sys.executable, "-c", RANK, "0"], 1, "p/s")
    (tmp_path / "ports").unlink()
    launch.launch([sys.executable, "-c", RANK, "2"], 1, "p/s")
    assert len((tmp_path / "ports").read_text().split()) == 3
    again = "p/s: port 1, where ranks were to meet, is in use by another program. The ranks are started again, with"
    assert capsys.readouterr().err.count(again) == 2


def test_ranks_that_find_their_ports_taken_each_time_fail_and_none_is_left_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"rank 0 of 2 failed \(exit code 73\): port 1, where ranks were to meet"):
        launch.launch([sys.executable, "-c", RANK, "9"], 2, "p/s")
    assert len((tmp_path / "ports").read_text().split()) == launch.STARTS


def test_ranks_of_a_slurm_job_take_another_port_too(monkeypatch: pytest.MonkeyPatch) -> None:
    starts = iter([TAKEN, [Exit(0, "n1", 0, ""), Exit(1, "n1", 0, "")]])
    monkeypatch.setattr(nodes, "run", lambda *_: nodes.Ended(next(starts), [], False, False))
    monkeypatch.setattr(launch.slurm, "turn", lambda job: 0)
    launch.launch_on(["n1"], ["rank"], 2, 1, "p/s", Allocation("1", ("n1",), "n1"))
    assert not list(starts)


def test_ranks_for_which_slurm_made_no_step_are_started_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its controller refuses one where it has just been restarted, and does not know its nodes yet."""
    refused = "srun: error: Unable to create step for job 1: Memory required by task is not available"
    starts = iter([nodes.Ended([], [refused], False, False), nodes.Ended([Exit(0, "n1", 0, "")], [], False, False)])
    waited: list[float] = []
    monkeypatch.setattr(nodes, "run", lambda *_: next(starts))
    monkeypatch.setattr(launch.slurm, "turn", lambda job: 0)
    monkeypatch.setattr(launch.time, "sleep", waited.append)
    launch.launch_on(["n1"], ["rank"], 1, 1, "p/s", Allocation("1", ("n1",), "n1"))
    assert not list(starts)
    assert waited == [launch.PAUSE]
    assert f"p/s: {refused}. The ranks are started again in 15 s." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("printed", "stopped"),
    [("srun: error: n1: task 0: Killed", False), ("srun: error: Unable to create step for job 1", True)],
)
def test_ranks_that_ended_otherwise_are_not(monkeypatch: pytest.MonkeyPatch, printed: str, stopped: bool) -> None:
    starts = iter([nodes.Ended([], [printed], stopped, False)])
    monkeypatch.setattr(nodes, "run", lambda *_: next(starts))
    monkeypatch.setattr(launch.slurm, "turn", lambda job: 0)
    with pytest.raises(UserError, match="again"):
        launch.launch_on(["n1"], ["rank"], 1, 1, "p/s", Allocation("1", ("n1",), "n1"))
