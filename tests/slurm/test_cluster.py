"""The cluster itself: two nodes that run, fail and come back like real ones, and nothing left or touched outside."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.slurm.cluster import ACCOUNT, Cluster, inside, missing, start
from tests.slurm.spaces import status
from tests.waiting import PATIENCE, until


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in sorted(folder.rglob("*"))}


def name(process: psutil.Process) -> str:
    """Nothing for a process that has ended meanwhile."""
    with suppress(psutil.NoSuchProcess):
        return str(process.name())
    return ""


def submit(cluster: Cluster, script: str, *flags: str) -> str:
    said = cluster.run(["sbatch", "--parsable", "--mem=500", "-o", "/dev/null", *flags, "--wrap", script])
    return said.strip()


def test_two_nodes_are_two_hosts_that_know_each_other(cluster: Cluster) -> None:
    script = "echo $(hostname) $(getent hosts n1 n2 ctl | wc -l) $(python -c 'import sys; print(sys.prefix)')"
    said = cluster.run(["srun", "-N2", "-n2", "--mem=500", "bash", "-c", script])
    assert sorted(said.splitlines()) == [f"{node} 3 {sys.prefix}" for node in ("n1", "n2")]


def test_it_is_cut_as_a_real_one(cluster: Cluster) -> None:
    assert cluster.run(["sinfo", "-h", "-N", "-p", "main", "-o", "%N %c %m %G"]).splitlines() == [
        "n1 4 8000 gpu:2",
        "n2 4 8000 gpu:2",
    ]
    said = cluster.run(["srun", "-N1", "-n1", "--mem=500", "--gres=gpu:2", "bash", "-c", "echo $CUDA_VISIBLE_DEVICES"])
    assert said.strip() == "0,1"


def test_a_higher_partition_preempts_by_requeue_under_the_same_id(cluster: Cluster) -> None:
    job = submit(cluster, "sleep 3600", "-N2", "--requeue")
    until("the first job to run", lambda: cluster.state(job) == "RUNNING")
    cluster.run(["srun", "-p", "urgent", "-N2", "-n2", "--mem=8000", "true"])
    until("it to run again", lambda: cluster.state(job) == "RUNNING")
    assert "Restarts=1 " in cluster.run(["scontrol", "show", "job", job])


@pytest.mark.nightly
def test_a_dead_node_is_seen_its_job_requeued_and_the_node_taken_back(cluster: Cluster) -> None:
    job = submit(cluster, "sleep 3600", "-w", "n1", "--requeue")
    until("the job to run", lambda: cluster.state(job) == "RUNNING")
    cluster.nodes["n1"].kill()
    assert not cluster.nodes["n1"].processes()
    until("the job to be requeued", lambda: cluster.state(job) == "PENDING", said=cluster.logs)
    cluster.nodes["n1"].start()
    until("it to run again", lambda: cluster.state(job) == "RUNNING", said=cluster.logs)


def test_a_frozen_node_stands_still_and_goes_on(cluster: Cluster, tmp_path: Path) -> None:
    ticks = tmp_path / "ticks"
    submit(cluster, f"while :; do echo >> {ticks}; sleep 0.05; done", "-w", "n2")
    until("the job to run", ticks.exists)
    node = cluster.nodes["n2"]
    node.freeze()
    before = ticks.stat().st_size
    states = {status(process) for process in node.processes()}
    assert "stopped" in states
    assert states <= {"stopped", "zombie"}, "a sleep that was over is buried by a frozen shell when that goes on"
    assert ticks.stat().st_size == before
    node.thaw()
    until("the job to go on", lambda: ticks.stat().st_size > before)


@pytest.mark.skipif(missing() is not None, reason=f"{missing()}")
def test_the_end_leaves_no_process_and_touched_nothing_outside(tmp_path: Path) -> None:
    before = listing(Path("/etc/slurm")), Path("/etc/hosts").read_bytes()
    with start() as cluster:
        cluster.run(["sbatch", "-N1", "--mem=500", "-o", "/dev/null", "--wrap", f"touch {tmp_path}/up; sleep 3600"])
        until("the job to run", (tmp_path / "up").exists)
        assert "mixed" in cluster.states()
        driver = inside(cluster.popen(["sleep", "3600"], "/"))
        processes, root = cluster.processes(), cluster.root
        names = {name(process) for process in processes}
        assert {"munged", "slurmctld", "slurmd", "slurmstepd", "sleep"} <= {re.sub(r":.*", "", name) for name in names}
        assert driver in processes
        assert (listing(Path("/etc/slurm")), Path("/etc/hosts").read_bytes()) == before
    assert not psutil.wait_procs(processes, timeout=PATIENCE)[1]
    assert not root.exists()


@pytest.mark.skipif(missing() is not None, reason=f"{missing()}")
def test_two_clusters_side_by_side_know_nothing_of_each_other() -> None:
    with start() as first, start() as second:
        submit(first, "sleep 3600")
        assert first.run(["squeue", "-h"])
        assert not second.run(["squeue", "-h"])


@pytest.mark.skipif(missing(accounting=True) is not None, reason=f"{missing(accounting=True)}")
def test_with_accounting_a_job_is_charged_to_its_account() -> None:
    with start(with_accounting=True) as cluster:
        cluster.run(["srun", "--mem=500", "--account", ACCOUNT, "true"])
        accounts = ["sacct", "-n", "-X", "-o", "Account,State"]
        until("the record", lambda: f"{ACCOUNT}  COMPLETED" in cluster.run(accounts))
        with pytest.raises(AssertionError, match="Invalid account"):
            cluster.run(["srun", "--mem=500", "--account", "nobody", "true"])
