"""Ranks on the nodes of a Slurm job: the bits of one rank, every exit noticed, and time for a checkpoint at the end."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from stages.store import manifest
from tests.slurm.cluster import Cluster, missing, start
from tests.waiting import until

BOX = "next_token/results/mini/tiny/box"
TRAIN = ["-m", "tests.unit.train.ranked"]
# Ranks that say that they are there, and then wait for SIGTERM, which they take half a second to obey.
PATIENT = """
import os, pathlib, signal, sys, time
def stop(*_):
    time.sleep(0.5)
    pathlib.Path(sys.argv[1], "checkpoint" + os.environ["RANK"]).touch()
    print("stopped after step 3", flush=True)
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
pathlib.Path(sys.argv[1], "up" + os.environ["RANK"]).touch()
time.sleep(3600)
"""
# Two ranks that wait for each other, so that neither node is lost before it has begun.
TOGETHER = """
import os, pathlib, sys, time
RANK, folder = os.environ["RANK"], pathlib.Path(sys.argv[1])
(folder / ("here" + RANK)).touch()
while len(list(folder.glob("here*"))) < 2:
    time.sleep(0.01)
"""


def submit(cluster: Cluster, folder: Path, ranks: int, nodes: int, *command: str, flags: str = "") -> str:
    """Submit a job of so many nodes with the CPUs for its ranks; returns its id. It prints into out.txt."""
    script = shlex.join([sys.executable, "-m", "tests.slurm.launcher", str(ranks), str(nodes), *command])
    sizes = [f"--nodes={nodes}", "--ntasks-per-node=1", f"--cpus-per-task={ranks // nodes}", "--mem=1500"]
    words = ["sbatch", "--parsable", *sizes, f"--output={folder}/out.txt", *flags.split(), "--wrap", script]
    return cluster.run(words, cwd=folder).strip()


def finish(cluster: Cluster, folder: Path, job: str) -> str:
    """Wait for the job's end; what it printed."""
    until(f"job {job}", lambda: cluster.over(job), said=cluster.logs)
    return (folder / "out.txt").read_text()


def wait_for_ranks(cluster: Cluster, folder: Path, job: str, count: int) -> None:
    """Wait until so many have said that they are up."""

    def said() -> str:
        return f"{finish(cluster, folder, job)}\n{cluster.logs()}" if cluster.over(job) else cluster.logs()

    until(f"{count} ranks", lambda: len(list(folder.glob("up*"))) == count, lambda: cluster.over(job), said)


@pytest.mark.slow
def test_two_ranks_on_two_nodes_or_on_one_train_to_the_bits_of_one(cluster: Cluster, tmp_path: Path) -> None:
    jobs = {}
    for ranks, nodes in ((1, 1), (2, 1), (2, 2)):
        folder = tmp_path / f"{ranks}-{nodes}"
        folder.mkdir()
        jobs[folder] = submit(cluster, folder, ranks, nodes, *TRAIN, str(folder), "next_token")
    for folder, job in jobs.items():
        said = finish(cluster, folder, job)
        assert cluster.state(job) == "COMPLETED", said
        assert not manifest.verify(folder / BOX, deep=True)
    found = {(folder / BOX / manifest.NAME).read_bytes() for folder in jobs}
    assert len(found) == 1
    assert '"tier": "bit-exact"' in found.pop().decode()
    leases = "\n".join(path.read_text() for path in tmp_path.glob("2-2/*/results/.runs/*/leases.jsonl"))
    assert f'"job": "{jobs[tmp_path / "2-2"]}"' in leases


def test_a_rank_that_fails_is_named_with_its_node_and_not_its_echo(cluster: Cluster, tmp_path: Path) -> None:
    script = "import os, sys; rank = os.environ['RANK']; print(rank, 'ends'); sys.exit({'3': 1}.get(rank, 70))"
    said = finish(cluster, tmp_path, submit(cluster, tmp_path, 4, 2, "-c", script))
    assert "UserError: tiny/box: rank 3 of 4 on n2 failed (exit code 1): 3 ends" in said
    assert {line for line in said.splitlines() if line.startswith("[")} == {
        f"[rank {rank} on n{1 + rank // 2}] {rank} ends" for rank in range(4)
    }


def test_a_rank_killed_by_the_kernel_is_named_and_the_others_do_not_hang(cluster: Cluster, tmp_path: Path) -> None:
    script = f"{TOGETHER}RANK == '1' and os.kill(os.getpid(), 9); time.sleep(0.5); exit(70)"
    said = finish(cluster, tmp_path, submit(cluster, tmp_path, 2, 2, "-c", script, str(tmp_path)))
    assert "UserError: tiny/box: rank 1 of 2 on n2 was killed by SIGKILL" in said


@pytest.mark.slow
def test_ranks_that_hang_where_another_failed_do_not_hide_it(cluster: Cluster, tmp_path: Path) -> None:
    """Their node answers, so it is not lost: it ends them."""
    script = "import os, time; os.environ['RANK'] == '0' and exit(70); time.sleep(300)"
    said = finish(cluster, tmp_path, submit(cluster, tmp_path, 4, 2, "-c", script))
    assert "UserError: tiny/box: rank 0 of 4 on n1 failed (exit code 70)" in said


def test_a_node_whose_agent_dies_is_named(cluster: Cluster, tmp_path: Path) -> None:
    script = f"{TOGETHER}RANK == '1' and os.kill(os.getppid(), 9); time.sleep(3600)"
    said = finish(cluster, tmp_path, submit(cluster, tmp_path, 2, 2, "-c", script, str(tmp_path)))
    assert re.search(r"UserError: tiny/box: lost the ranks on (n1, )?n2 \(srun: error: n2: task 1: Killed\)", said), (
        said
    )


def test_a_step_that_slurm_refuses_says_why(cluster: Cluster, tmp_path: Path) -> None:
    said = finish(cluster, tmp_path, submit(cluster, tmp_path, 4, 1, "-c", "pass", flags="--cpus-per-task=1"))
    assert "UserError: tiny/box: lost the ranks on n1 (srun: error: Unable to create step" in said


def test_ranks_that_cannot_be_spread_evenly_are_refused(cluster: Cluster, tmp_path: Path) -> None:
    said = finish(cluster, tmp_path, submit(cluster, tmp_path, 3, 2, "-c", "pass"))
    assert "UserError: tiny/box: 3 ranks on 2 nodes of job" in said


def test_a_stop_reaches_every_rank_and_comes_back_as_one(cluster: Cluster, tmp_path: Path) -> None:
    job = submit(cluster, tmp_path, 4, 2, "-c", PATIENT, str(tmp_path))
    wait_for_ranks(cluster, tmp_path, job, 4)
    cluster.run(["scancel", "--batch", "--signal=TERM", job])  # reaches the batch script and what it has started
    said = finish(cluster, tmp_path, job)
    assert len(list(tmp_path.glob("checkpoint*"))) == 4, said


def test_cancelled_ranks_have_the_time_for_a_checkpoint(cluster: Cluster, tmp_path: Path) -> None:
    """The batch script dies at once; the ranks, in a step of their own, have KillWait."""
    job = submit(cluster, tmp_path, 2, 2, "-c", PATIENT, str(tmp_path))
    wait_for_ranks(cluster, tmp_path, job, 2)
    cluster.run(["scancel", job])
    finish(cluster, tmp_path, job)
    assert cluster.state(job) == "CANCELLED"
    assert len(list(tmp_path.glob("checkpoint*"))) == 2


@pytest.mark.slow
def test_what_an_earlier_turn_left_behind_does_not_end_this_ones_step(cluster: Cluster, tmp_path: Path) -> None:
    """An srun that slept on a frozen node cancels the step of its number when it wakes; Slurm counts from 0 a turn."""
    job = submit(cluster, tmp_path, 2, 2, "-c", PATIENT, str(tmp_path), flags="--requeue --open-mode=append")
    for turn in range(2):
        wait_for_ranks(cluster, tmp_path, job, 2)
        assert f"{job}.{turn}" in cluster.run(["squeue", "--steps", "-h", "-j", job, "-o", "%i"]).split()
        if turn == 0:
            cluster.run(["scontrol", "requeue", job])
            until("their end", lambda: len(list(tmp_path.glob("checkpoint*"))) == 2, said=cluster.logs)
            for left in tmp_path.glob("*[01]"):
                left.unlink()
    cluster.run(["sh", "-c", f"scancel --signal=KILL {job}.0; exit 0"])
    cluster.run(["scancel", "--batch", "--signal=TERM", job])
    said = finish(cluster, tmp_path, job)
    assert len(list(tmp_path.glob("checkpoint*"))) == 2, said


@pytest.mark.slow
@pytest.mark.skipif(missing() is not None, reason=f"{missing()}")
def test_a_job_told_to_make_room_goes_back_at_once(tmp_path: Path) -> None:
    """With a GraceTime Slurm signals the steps only; a batch script that ended then would be a job that failed."""
    with start(grace=60) as cluster:
        job = submit(cluster, tmp_path, 2, 2, "-c", PATIENT, str(tmp_path), flags="--requeue --open-mode=append")
        wait_for_ranks(cluster, tmp_path, job, 2)
        cluster.run(["srun", "-p", "urgent", "-N2", "-n2", "--mem=8000", "true"])
        assert len(list(tmp_path.glob("checkpoint*"))) == 2
        until("it to run again", lambda: cluster.state(job) == "RUNNING", said=cluster.logs)
        assert "tiny/box: job 1: going back into the queue" in (tmp_path / "out.txt").read_text()
