"""`stages emit | sbatch`: one box as a job by hand, and what `stages status` hears of it from Slurm."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.agreement import project as projects
from tests.agreement.project import Project
from tests.slurm.cluster import Cluster
from tests.waiting import until


@pytest.mark.slow
def test_a_stage_that_is_handed_to_sbatch_waits_runs_and_is_done(cluster: Cluster, tmp_path: Path) -> None:
    project = projects.write(tmp_path / "project")
    emit = f"{sys.executable} -m stages emit toy/text | sbatch --parsable --hold"
    job = cluster.run(["bash", "-c", emit], project.root, project.environment).strip()

    assert status(cluster, project)["state"] == "pending"
    assert status(cluster, project)["why"] == f"job {job} waits in the queue (JobHeldUser)"
    ask = f"from stages.cluster import slurm; print(slurm.script('{job}'))"
    assert "stages run toy/text --scale mini" in cluster.run([sys.executable, "-c", ask])
    cluster.run(["scontrol", "release", job])
    seen = set()
    until(
        "the job to end",
        lambda: seen.add(status(cluster, project)["state"]) or seen & {"done", "failed"},
        said=cluster.logs,
    )
    assert seen <= {"pending", "running", "done"}
    assert cluster.run(["scontrol", "show", "job", job]).count("Comment=rule_toy__text") == 1


def status(cluster: Cluster, project: Project) -> dict[str, str]:
    command = [sys.executable, "-m", "stages", "status", "--json"]
    said = cluster.run(["bash", "-c", f"{' '.join(command)} || true"], project.root, project.environment)
    return next(one for one in json.loads(said) if one["stage"] == "toy/text")
