"""A stage of the NeMo engine over two nodes of two ranks each: requeued once, it ends with the bits of a local run."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.engines import interpreter
from stages.spec.project import Project
from tests.edits import edit, replaced
from tests.paused import Watch
from tests.slurm import cluster as clusters
from tests.slurm.test_ouro import copy
from tests.waiting import until

SCALE, REF, BOX = "mini_nemo", "llama31_1m/cpt_256k", "cpt_256k"
PYTHON = interpreter.CODE / interpreter.NEMO
EVERY = 4  # steps from one checkpoint to the next
STEPS = f"checkpoint_every: {EVERY} steps"
LAYOUT = f"    executions: {{cpt_256k: {{nodes: 2, ranks: 4, memory: 6 GB, {STEPS}, parallel: {{tp: 2}}}}}}\n"
HELD = 6  # two steps behind a checkpoint
PATIENCE = 1500.0  # seconds: each rank imports Megatron, which takes half a minute of a core, twice

pytestmark = [
    pytest.mark.skipif(clusters.missing() is not None, reason=f"{clusters.missing()}"),
    pytest.mark.skipif(not PYTHON.is_file(), reason=f"no {interpreter.NEMO}: `make nemo` makes it"),
]


def project(folder: Path) -> Path:
    """The shipped specs, with this stage over two nodes: heads over the ranks of a node, two replicas."""
    copy(folder)
    scale = folder / f"specs/scales/{SCALE}.yaml"
    text = scale.read_text()
    assert re.search("^  llama31_1m:", text, re.MULTILINE) is None
    scale.write_text(replaced(text, "pipelines:\n", f"pipelines:\n  llama31_1m:\n{LAYOUT}"))
    site = folder / "slurm/site.yaml"
    edit(site, "  environment: {}", "  environment: {STAGES_OF: nemo}")
    return folder


def local(folder: Path, rule: str) -> None:
    """Snakemake without Slurm: the ranks are processes of this machine."""
    words = ["snakemake", "--quiet", "all", "--cores", "4", "--config", f"scale={SCALE}", "--", rule]
    env = clusters.environment()
    done = subprocess.run([sys.executable, "-m", *words], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{rule}: {done.returncode}\n{done.stdout}\n{done.stderr}"


def result(folder: Path) -> Path:
    return folder / "results" / SCALE / REF


def jobs(cluster: clusters.Cluster) -> list[tuple[str, int, str]]:
    """(id, restarts, nodes) of every job of the stage."""
    found = []
    for line in cluster.run(["scontrol", "--oneliner", "show", "jobs"]).splitlines():
        fields = dict(re.findall(r"(\w+)=(\S*)", line))
        if fields.get("Comment") == "rule_llama31_1m__cpt_256k":
            found.append((fields["JobId"], int(fields["Restarts"]), fields["NodeList"]))
    return found


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_requeued_over_two_nodes_it_ends_with_the_bits_of_a_local_run(tmp_path: Path) -> None:
    folder = project(tmp_path / "alone")
    keys = Project.load(folder).keys(SCALE)
    local(folder, "llama31_1m__base")
    spread = tmp_path / "spread"
    subprocess.run(["cp", "-a", str(folder), str(spread)], check=True)
    local(folder, "llama31_1m__cpt_256k")

    watch = Watch(tmp_path / "watched")
    watch.hold(BOX, HELD)
    env = watch.environment(clusters.environment()["PYTHONPATH"])
    flags = ["--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "10"]
    words = ["snakemake", "--profile", "slurm", *flags, "--config", f"scale={SCALE}", "--", "llama31_1m__cpt_256k"]
    with clusters.start() as cluster, (tmp_path / "said").open("w") as said:

        def heard() -> str:
            logs = sorted((spread / "results/.slurm").rglob("*.log"))
            return "\n".join(path.read_text(errors="replace") for path in (tmp_path / "said", *logs) if path.is_file())

        driver = cluster.popen(words, spread, env, stdin=subprocess.DEVNULL, stdout=said, stderr=said)

        def come(what: str, holds: Callable[[], object]) -> None:
            until(what, holds, lambda: driver.poll() is not None, heard, PATIENCE)

        come(f"step {HELD}", lambda: HELD in watch.steps(BOX))
        ((number, _, nodes),) = jobs(cluster)
        assert nodes == "n[1-2]"
        cluster.run(["scontrol", "requeue", number])
        come("the job to be requeued", lambda: jobs(cluster)[0][1] == 1)
        watch.let_go(BOX)
        assert driver.wait(PATIENCE) == 0, heard()
        assert [restarts for _, restarts, _ in jobs(cluster)] == [1]

    assert keys[REF] == Project.load(spread).keys(SCALE)[REF]
    for file in ("manifest.json", "metrics.csv"):
        assert (result(spread) / file).read_bytes() == (result(folder) / file).read_bytes(), file
    devices = json.loads((result(spread) / "run.json").read_text())["devices"]
    assert [one["node"] for one in devices] == ["n1", "n1", "n2", "n2"]
    steps = len(list(csv.DictReader((result(spread) / "metrics.csv").read_text().splitlines())))
    assert len(watch.steps(BOX)) - steps <= EVERY, "done twice: no more than from the last checkpoint on"
