"""The batch scripts of two stages, as `stages emit` prints them."""

from __future__ import annotations

from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from stages.cluster import script
from stages.cluster.site import Site
from stages.spec.project import Project

ROOT = Path(__file__).resolve().parents[2]
LARGE = Site(
    account="lab",
    partition="cpu",
    gpu_partition="h100",
    gpu="gpu:h100",
    max_time=1440,
    qos="long",
    constraint="ib",
    extra=("--exclusive", "--reservation=spring"),
)


@pytest.mark.parametrize(
    ("name", "scale", "site"),
    [("kimi_vl/joint_pretrain", "paper", LARGE), ("ouro/stable_1", "mini", Site())],
    ids=["paper", "mini"],
)
def test_script(name: str, scale: str, site: Site, text: SnapshotAssertion) -> None:
    pipeline, _, box = name.partition("/")
    stage = Project.load(ROOT).resolve(pipeline, scale).stages[box]
    run = ["python", "-m", "stages", "run", name, "--scale", scale]
    assert script.text(stage, site, Path("/home/me/my project"), run) == text


def test_sbatch_reads_a_backslash_as_its_own_within_quotes_too() -> None:
    """A real sbatch took each of 26 odd names but this one for what it was."""
    stage = Project.load(ROOT).resolve("ouro", "mini").stages["warmup"]
    lines = script.text(stage, Site(extra=(r"--comment=a\b",)), Path("/home/back\\slash"), ["true"]).splitlines()
    assert r"#SBATCH --chdir='/home/back\\slash'" in lines
    assert r"#SBATCH '--comment=a\\b'" in lines
