"""What happens to jobs on a cluster, each event inflicted once on the four boxes. Rows of the table in the docs."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass

from tests.slurm.cluster import inside
from tests.slurm.four_boxes import BOXES
from tests.slurm.graph import Graph

STEPS = 240
Inflict = Callable[[Graph], str]


@dataclass(frozen=True)
class Event:
    """`inflict` drives the graph to its end and gives back, in words, what Slurm did.

    `lost` is the most steps that may have to be done again; `base_seconds` how long base trains here, if that
    matters; `all_done` whether every box is done at the end.
    """

    title: str
    inflict: Inflict
    lost: int
    base_seconds: float | None = None
    all_done: bool = True


def preemption(graph: Graph) -> str:
    driver = graph.start(hold=["base"])
    graph.wait_steps("base")
    preempt(graph)
    graph.let_go("base")
    graph.finish(driver)
    assert graph.job("base").restarts == 1
    return "requeued job {} for one of the partition urgent".format(graph.job("base").id)


def preempt(graph: Graph) -> None:
    """A job of the partition urgent takes both nodes for a moment."""
    graph.cluster.run(["srun", "-p", "urgent", "-N2", "-n2", "--mem=8000", "true"])


def time_limit(graph: Graph) -> str:
    site = "max_time: 1 min\nrequeue_before: 45 s\n"
    (graph.project / "slurm/site.yaml").write_text(site)
    graph.finish(graph.start())
    restarts = {box: graph.job(box).restarts for box in BOXES}
    assert restarts["base"] >= 1, restarts
    return f"jobs of 1 min, requeued by themselves 45 s before their end: {_listed(restarts)}"


def lowered_time_limit(graph: Graph) -> str:
    driver = graph.start(hold=["base"])
    graph.wait_steps("base")
    job = graph.job("base").id
    graph.cluster.run(["scontrol", "update", f"JobId={job}", "TimeLimit=3"])
    graph.until("base to be requeued", lambda: graph.job("base").restarts == 1)
    graph.let_go("base")
    graph.finish(driver)
    log = graph.project / "results/.runs" / graph.keys["base"] / "log.txt"
    assert f"job {job}: its time limit is near" in log.read_text()
    return f"set job {job} to 3 min, requeued by itself once"


def power_cut_of_the_first_node(graph: Graph) -> str:
    driver = graph.start(hold=["base"])
    graph.wait_steps("base")
    node = graph.job("base").node
    graph.cluster.nodes[node].kill()
    graph.let_go("base")
    wait_for_run_elsewhere(graph, node)
    graph.cluster.nodes[node].start()
    graph.finish(driver)
    return f"{_restarted(graph, 'base')} on the other node"


def power_cut_of_the_second_node(graph: Graph) -> str:
    driver = graph.start(hold=["wide"])
    graph.wait_steps("wide")
    cut_power(graph)
    graph.wait_state("wide", "PENDING")
    graph.cluster.nodes["n2"].start()
    graph.finish(driver)
    return f"{_restarted(graph, 'wide')} when n2 was back"


def cut_power(graph: Graph) -> None:
    """The second node dies, and wide, which waits on both, is let go on the first."""
    graph.cluster.nodes["n2"].kill()
    graph.let_go("wide")


def wait_for_run_elsewhere(graph: Graph, node: str) -> None:
    """Wait until base is run, and not only waited for, on another node."""

    def taken_over() -> bool:
        return any(event["event"] == "taken" and event["host"] != node for event in graph.leases("base"))

    graph.until(f"base to be run on another node than {node}", taken_over)


def frozen_node(graph: Graph) -> str:
    driver = graph.start(hold=["base"])
    graph.wait_steps("base")
    node = graph.job("base").node
    graph.cluster.nodes[node].freeze()
    graph.let_go("base")
    wait_for_run_elsewhere(graph, node)
    graph.cluster.nodes[node].thaw()
    graph.finish(driver)
    return f"{_restarted(graph, 'base')} on the other node; the old run came back beside it"


def killed_driver(graph: Graph) -> str:
    first = graph.start(hold=["base"])
    graph.wait_steps("base")
    inside(first).send_signal(signal.SIGKILL)
    first.wait()
    second = graph.start()
    graph.until("the second driver's job", lambda: len(graph.jobs("base")) == 2)
    graph.let_go("base")
    graph.finish(second)
    jobs = graph.jobs("base")
    assert len(jobs) == 2, jobs
    return f"job {jobs[0].id} ran on; the second driver's job {jobs[1].id} waited for its end"


def cancelled_job(graph: Graph) -> str:
    first = graph.start(hold=["base"])
    graph.wait_steps("base")
    graph.cluster.run(["scancel", graph.job("base").id])
    graph.finish(first, code=1)
    graph.let_go("base")
    assert graph.job("base").restarts == 0
    assert (graph.project / "results/mini/four/alone").is_dir(), "a box that does not need the cancelled one goes on"
    graph.finish(graph.start())
    jobs = graph.jobs("base")
    return f"job {jobs[0].id} cancelled; the second driver's job {jobs[1].id} went on"


def failure_for_good(graph: Graph) -> str:
    graph.finish(graph.start(), code=1)
    job = graph.job("base")
    assert (job.state, job.restarts) == ("FAILED", 0)
    assert not graph.jobs("wide")
    return f"job {job.id} failed, not requeued"


def _restarted(graph: Graph, box: str) -> str:
    job = graph.job(box)
    assert job.restarts == 1, job
    return f"node down, job {job.id} requeued"


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{box} {count} times" for box, count in counts.items() if count)


EVENTS = {
    event.inflict.__name__: event
    for event in (
        Event("a job of higher priority takes the nodes", preemption, lost=0),
        Event("a stage needs longer than a job may run", time_limit, lost=0, base_seconds=50.0),
        Event("the time limit of a running job is lowered", lowered_time_limit, lost=0),
        Event("power cut of a one-node stage's node", power_cut_of_the_first_node, lost=20),
        Event("power cut of a two-node stage's second node", power_cut_of_the_second_node, lost=20),
        Event("a node freezes, is given up, and comes back", frozen_node, lost=20),
        Event("the driver is killed, and started again", killed_driver, lost=0),
        Event("`scancel` of a stage's job", cancelled_job, lost=0),
        Event("a stage fails for good", failure_for_good, lost=0, all_done=False),
    )
}
