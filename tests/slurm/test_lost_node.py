"""A node is lost, and the ranks of the others notice long before Slurm does: the job must not fail meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.edits import edit
from tests.slurm.cluster import Cluster, Node, missing, start
from tests.slurm.test_launch import finish, submit, wait_for_ranks
from tests.waiting import until

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(missing() is not None, reason=f"{missing()}"),
]
# Rank 0 loses the others as soon as there is a file "lost"; they wait. In the turn after that all end well.
FRAIL = """
import os, pathlib, sys, time
folder, rank = pathlib.Path(sys.argv[1]), os.environ["RANK"]
if (folder / "lost").exists():
    sys.exit()
(folder / ("up" + rank)).touch()
while rank != "0" or not (folder / "lost").exists():
    time.sleep(0.1)
print("connection closed by peer", flush=True)
sys.exit(70)
"""


@pytest.fixture
def slow_cluster() -> Iterator[Cluster]:
    """One that takes longer to find a node down than ranks have for leaving after one has failed."""
    with start() as cluster:
        settings = cluster.root / "etc/slurm.conf"
        edit(settings, "SlurmdTimeout=10", "SlurmdTimeout=100")
        cluster.run(["scontrol", "reconfigure"])
        yield cluster


@pytest.mark.parametrize("lose", [Node.kill, Node.freeze])
def test_the_job_waits_until_slurm_has_noticed_and_runs_anew(
    slow_cluster: Cluster, tmp_path: Path, lose: Callable[[Node], None]
) -> None:
    cluster = slow_cluster
    job = submit(cluster, tmp_path, 4, 2, "-c", FRAIL, str(tmp_path), flags="--requeue --open-mode=append")
    wait_for_ranks(cluster, tmp_path, job, 4)
    lose(cluster.nodes["n2"])
    (tmp_path / "lost").touch()
    said = tmp_path / "out.txt"
    word = "no answer from n2: waiting up to 150 s"
    until(word, lambda: word in said.read_text(), lambda: cluster.over(job), said.read_text)
    until("Slurm to requeue", lambda: cluster.state(job) == "PENDING", said=cluster.logs)
    node = cluster.nodes["n2"]
    node.start() if lose is Node.kill else node.thaw()
    finish(cluster, tmp_path, job)
    assert cluster.state(job) == "COMPLETED", said.read_text()
    assert "StoppedError" not in said.read_text()
