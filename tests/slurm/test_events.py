"""Whatever happens to its jobs, the graph ends with the digests of an undisturbed local run, and nothing wrote twice.

Each event on a cluster of its own; a row of results/records/cluster.md is written for each (nightly). CI has two events
in one graph of shorter boxes.
"""

from __future__ import annotations

import csv
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from tests.slurm import cluster as clusters
from tests.slurm import four_boxes, record
from tests.slurm.cluster import Cluster
from tests.slurm.events import EVENTS, STEPS, Event, cut_power, preempt
from tests.slurm.four_boxes import BOXES, manifests
from tests.slurm.graph import Graph

EVERY = 10  # steps between two checkpoints
CI_STEPS = 60  # some more than boxes are held after

pytestmark = pytest.mark.skipif(clusters.missing() is not None, reason=f"{clusters.missing()}")


Calm = Callable[[int, int], Path]


@pytest.fixture(scope="session")
def calm(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Calm:
    """The project after an undisturbed local run, made once for all workers, by the steps of its boxes and of base."""
    common = tmp_path_factory.getbasetemp()
    common = common if worker_id == "master" else common.parent

    def make(steps: int, base_steps: int) -> Path:
        folder = common / f"calm-{steps}-{base_steps}"
        with FileLock(f"{folder}.lock"):
            if not folder.exists():
                unfinished = folder.with_suffix(".unfinished")
                run_locally(four_boxes.make(unfinished, steps, base_steps)).rename(folder)
        return folder

    return make


def run_locally(project: Path) -> Path:
    words = [sys.executable, "-m", "snakemake", "--cores", "2"]
    done = subprocess.run(words, cwd=project, env=clusters.environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return project


def pace(project: Path) -> float:
    """Seconds for each step of base."""
    with (project / "results/mini/four/base/timing.csv").open() as table:
        return statistics.median(float(row["seconds"]) for row in csv.DictReader(table))


def fresh(calm: Path, folder: Path) -> Path:
    """The project with its corpora, and nothing trained."""
    shutil.copytree(calm, folder, ignore=shutil.ignore_patterns("four", ".runs", ".snakemake"))
    shutil.copytree(calm / "specs/four", folder / "specs/four")
    return folder


def hold(graph: Graph, calm: Path, lost: int, boxes: tuple[str, ...] = BOXES) -> None:
    """What every event must leave."""
    wanted = {box: digests for box, digests in manifests(calm).items() if box in boxes}
    assert manifests(graph.project) == wanted
    assert "Trying to restart job" not in graph.said()
    assert graph.most_writers() == 1
    assert 0 <= graph.lost_steps() <= lost


@pytest.mark.timeout(1800)
def test_preempted_and_then_a_power_cut_in_one_graph(cluster: Cluster, calm: Calm, tmp_path: Path) -> None:
    short_calm = calm(CI_STEPS, CI_STEPS)
    graph = Graph(cluster, fresh(short_calm, tmp_path / "project"))
    disturb_twice(graph, short_calm)


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.skipif(clusters.missing(accounting=True) is not None, reason=f"{clusters.missing(accounting=True)}")
def test_the_same_where_jobs_are_charged_to_an_account(calm: Calm, tmp_path: Path) -> None:
    short_calm = calm(CI_STEPS, CI_STEPS)
    with clusters.start(with_accounting=True) as cluster:
        project = fresh(short_calm, tmp_path / "project")
        (project / "slurm/site.yaml").write_text(f"account: {clusters.ACCOUNT}\n")
        graph = Graph(cluster, project)
        disturb_twice(graph, short_calm)
        said = cluster.run(["sacct", "--noheader", "--parsable2", "--allocations", "--format=JobName,Account"])
        charged = [line.split("|") for line in said.splitlines()]
        assert {account for name, account in charged if name != "true"} == {clusters.ACCOUNT}  # preempt runs `true`


def disturb_twice(graph: Graph, calm: Path) -> None:
    """base is preempted on one node, then wide loses its second node."""
    driver = graph.start(hold=["base", "wide"])
    graph.wait_steps("base")
    preempt(graph)
    graph.let_go("base")
    graph.wait_steps("wide")
    cut_power(graph)
    graph.wait_state("wide", "PENDING")
    graph.cluster.nodes["n2"].start()
    graph.finish(driver)
    assert [graph.job(box).restarts for box in ("base", "wide")] == [1, 1]
    hold(graph, calm, lost=2 * EVERY)


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", [name for name, event in EVENTS.items() if event.all_done])
def test_event(name: str, calm: Calm, tmp_path: Path) -> None:
    event = EVENTS[name]
    reference = calm(STEPS, STEPS)
    if event.base_seconds:
        reference = calm(STEPS, round(event.base_seconds / pace(reference)))
    began = time.monotonic()
    with clusters.start() as cluster:
        graph = Graph(cluster, fresh(reference, tmp_path / "project"))
        did = event.inflict(graph)
        hold(graph, reference, event.lost)
        write_row(event, graph, did, "all four stages bit for bit", began)


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_a_failure_for_good_stops_what_needs_it_and_nothing_else(calm: Calm, tmp_path: Path) -> None:
    event = EVENTS["failure_for_good"]
    reference, began = calm(STEPS, STEPS), time.monotonic()
    with clusters.start() as cluster:
        project = fresh(reference, tmp_path / "project")
        four_boxes.break_base(project)
        graph = Graph(cluster, project)
        did = event.inflict(graph)
        hold(graph, reference, event.lost, boxes=("alone",))
        status = subprocess.run(
            [sys.executable, "-m", "stages", "status", "--json"],
            cwd=project, env=clusters.environment(), capture_output=True, text=True,
        )  # fmt: skip
        states = {box["stage"]: box for box in json.loads(status.stdout)}
        assert status.returncode == 1
        assert [states[f"four/{box}"]["state"] for box in BOXES] == ["failed", "missing", "missing", "done"]
        base = states["four/base"]
        assert "nan" in base["why"]
        assert base["step"] > 20
        assert (project / base["partial"]).is_dir()
        assert (project / base["log"]).is_file()
        assert (base["command"], base["repeats"]) == ("stages show four/base --scale mini", True)
        write_row(event, graph, did, "the stage without it bit for bit; status says step, reason, log, command", began)


def write_row(event: Event, graph: Graph, did: str, outcome: str, began: float) -> None:
    lost, writers, seconds = str(graph.lost_steps()), str(graph.most_writers()), f"{time.monotonic() - began:.0f}"
    record.write_row(event.title, (did, outcome, lost, writers, seconds))
