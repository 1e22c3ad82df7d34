"""A published pipeline at mini over two nodes: `snakemake --profile slurm` ends with the bits of a local run."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from stages.spec.project import Project
from stages.sync import write
from tests.slurm import cluster as clusters
from tests.slurm import record
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(clusters.missing() is not None, reason=f"{clusters.missing()}")


def copy(folder: Path) -> Path:
    folder.mkdir()
    shutil.copy(ROOT / "Snakefile", folder)
    for name in ("specs", "rules", "profiles", "slurm"):
        shutil.copytree(ROOT / name, folder / name)
    write.sync(folder, Project.load(folder), "mini")
    return folder


def manifests(project: Path) -> dict[str, bytes]:
    """Of every box and corpus."""
    found = (project / "results/mini").glob("*/*/manifest.json")
    return {str(path.relative_to(project)): path.read_bytes() for path in found}


@pytest.mark.nightly
@pytest.mark.timeout(10_800)  # of a hang: each stage has a limit of its own, and a loaded machine takes an hour
def test_ouro_over_two_nodes_ends_with_the_bits_of_a_local_run(tmp_path: Path) -> None:
    local, spread = copy(tmp_path / "local"), copy(tmp_path / "spread")
    began = time.monotonic()
    with clusters.start() as cluster, (tmp_path / "said").open("w") as said:
        words, quiet = ["snakemake", "--profile", "slurm", "ouro"], subprocess.DEVNULL
        driver = cluster.popen(words, spread, stdin=quiet, stdout=said, stderr=said)

        def more(than: int) -> bool:
            return driver.poll() is not None or len(manifests(spread)) > than

        heard = (tmp_path / "said").read_text
        while driver.poll() is None:
            until("one more result", partial(more, len(manifests(spread))), said=heard, every=1.0)
        assert driver.returncode == 0, heard()
        words = ["squeue", "--states=all", "--noheader", "--format=%T %B"]
        jobs = [line.split() for line in cluster.run(words).splitlines()]
    seconds = time.monotonic() - began
    alone = [sys.executable, "-m", "snakemake", "--quiet", "all", "--cores", "2", "ouro"]
    subprocess.run(alone, cwd=local, env=clusters.environment(), check=True, capture_output=True)

    assert manifests(spread) == manifests(local)
    assert {state for state, _ in jobs} == {"COMPLETED"}
    nodes = {node for _, node in jobs}
    boxes = len(list((spread / "results/mini/ouro").glob("*/manifest.json")))
    did = f"ran {len(jobs)} jobs on {' and '.join(sorted(nodes))}"
    record.write_row(
        record.OURO, (did, f"all {boxes} stages and their corpora bit for bit", "0", "1", f"{seconds:.0f}")
    )
