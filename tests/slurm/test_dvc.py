"""`SNAKEMAKE_PROFILE=slurm dvc repro` after an edit: exactly the stale boxes run, each as a Slurm job."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.agreement import project as projects
from tests.slurm.cluster import Cluster


@pytest.mark.nightly
def test_an_edit_runs_the_stale_stages_as_jobs_and_nothing_else(cluster: Cluster, tmp_path: Path) -> None:
    project = projects.finish(projects.write(tmp_path / "project"))
    before = rules(cluster)
    project.edit("specs/toy/joint.yaml", "from: 50%, to: 50%", "from: 25%, to: 25%")

    slurm = {**project.environment, "SNAKEMAKE_PROFILE": "slurm"}
    said = cluster.run([sys.executable, "-m", "dvc", "repro"], project.root, slurm)

    assert rules(cluster)[len(before) :] == ["rule_toy__joint", "rule_toy__release"]
    assert "Stage 'toy__vit' didn't change, skipping" in said
    assert "up to date" in cluster.run([sys.executable, "-m", "dvc", "status"], project.root, project.environment)
    assert "Nothing to be done" in project.type("snakemake", "-n")
    assert not list((project.root / "results/.slurm").rglob("*.log")), "of jobs that succeeded nothing is left"


def rules(cluster: Cluster) -> list[str]:
    """The rules of all jobs that there ever were, in the order in which they were submitted."""
    rows = cluster.run(["squeue", "--states=all", "--noheader", "--sort=i", "--format=%k"])
    return rows.split()
