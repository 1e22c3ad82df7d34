"""What a real Slurm says of jobs before the first is submitted, and that Snakemake then submits none."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.slurm import four_boxes
from tests.slurm.cluster import Cluster
from tests.slurm.graph import Graph

ASK = """
from stages.cluster import preflight
from stages.cluster.resources import Request
from stages.cluster.site import Site
from stages.errors import UserError
try:
    print(preflight.check({"p/a": Request(nodes=%s, cpus=%s, gpus=%s, memory_mb=500, minutes=5)}, Site(%s)))
except UserError as error:
    print("refused", error)
"""


@pytest.mark.parametrize(
    ("asked", "site", "said"),
    [
        ((2, 4, 2), "", r"[]"),
        ((1, 1, 0), "partition='nowhere'", "refused Slurm would refuse jobs: those of p/a: invalid partition"),
        ((1, 1, 0), "constraint='big'", "Invalid feature specification"),
        ((1, 1, 1), "gpu='gpux'", "Invalid generic resource (gres) specification"),
        ((1, 1, 0), "extra=('--nonsense',)", "unrecognized option"),
        ((3, 1, 0), "", "as things are"),
        ((1, 9, 0), "", "as things are"),
        ((1, 1, 3), "", "as things are"),
    ],
    ids=str,
)
def test_slurms_own_words(cluster: Cluster, asked: tuple[int, int, int], site: str, said: str) -> None:
    assert said in cluster.run([sys.executable, "-c", ASK % (*asked, site)])


def test_a_partition_that_is_not_there_ends_snakemake_before_any_job(cluster: Cluster, tmp_path: Path) -> None:
    graph = Graph(cluster, four_boxes.make(tmp_path / "project", 60, 60))
    (graph.project / "slurm/site.yaml").write_text("partition: nowhere\n")
    graph.finish(graph.start(), code=1)
    said = (graph.project / "said").read_text()
    assert "stages: Slurm would refuse jobs: those of four/" in said
    assert "Nothing was submitted" in said
    assert not any(graph.jobs(box) for box in four_boxes.BOXES)
