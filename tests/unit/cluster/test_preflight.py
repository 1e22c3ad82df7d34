"""What is said of jobs before the first is submitted. sbatch is a stand-in; tests/slurm asks the real one."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.cluster import preflight, slurm
from stages.cluster.resources import Request
from stages.cluster.site import Site
from stages.errors import UserError
from tests.unit.cluster.conftest import Command

SMALL = Request(nodes=1, cpus=2, gpus=0, memory_mb=1000, minutes=60)
WIDE = Request(nodes=8, cpus=2, gpus=4, memory_mb=1000, minutes=60)
LIMITS = "echo 'main*|2:00:00'; echo 'gpu|30:00'; echo 'long|infinite'"


def test_jobs_that_slurm_takes_are_no_news_and_each_kind_is_asked_for_once(command: Command, tmp_path: Path) -> None:
    command("sbatch", "echo 'sbatch: Job 1 to start at ...' >&2")
    command("sinfo", LIMITS)
    assert preflight.check({"p/a": SMALL, "p/b": SMALL, "p/c": SMALL}, Site(qos="q", extra=("--exclusive",))) == []
    (asked,) = [line for line in (tmp_path / "bin/asked").read_text().splitlines() if line.startswith("sbatch")]
    options = "--qos=q --nodes=1 --ntasks-per-node=1 --cpus-per-task=2 --mem=1000M --time=60 --exclusive"
    assert asked == f"sbatch --test-only {options} --wrap=true"


def test_without_jobs_nothing_is_asked(command: Command, tmp_path: Path) -> None:
    assert preflight.check({}, Site()) == []
    assert not (tmp_path / "bin/asked").exists()


@pytest.mark.parametrize(
    "words",
    [
        "sbatch: error: invalid partition specified: gpus\nallocation failure: Invalid partition name specified",
        "allocation failure: Invalid account or account/partition combination specified",
        "sbatch: error: Invalid generic resource (gres) specification",
        "sbatch: unrecognized option '--nonsense'\nTry \"sbatch --help\" for more information",
    ],
)
def test_what_slurm_refuses_is_refused_before_anything_is_submitted(command: Command, words: str) -> None:
    command("sinfo", LIMITS)
    command("sbatch", f"case \"$*\" in *--gres*) printf '%s\\n' '{words.replace(chr(39), '')}' >&2; exit 1;; esac")
    with pytest.raises(UserError, match=r"those of p/c: .*Nothing was submitted\. Correct slurm/site\.yaml") as raised:
        preflight.check({"p/a": SMALL, "p/c": WIDE}, Site())
    assert "Try" not in str(raised.value)


def test_what_nodes_cannot_do_now_is_said_with_what_is_asked_for(command: Command) -> None:
    command("sinfo", LIMITS)
    command("sbatch", "echo 'allocation failure: Requested node configuration is not available' >&2; exit 1")
    (line,) = preflight.check({"p/c": WIDE}, Site())
    assert line.startswith("p/c: as things are, Slurm could not start such a job (allocation failure: Requested")
    assert "8 nodes, each with 2 CPUs, 4 GPUs and 1 GB" in line


@pytest.mark.parametrize(
    ("site", "said"),
    [
        (Site(), []),
        (Site(gpu_partition="gpu"), ["p/c: asks for 60 min, its partition allows 30 min"]),
        (Site(gpu_partition="gpu,main"), []),  # the one that allows more is taken
        (Site(gpu_partition="long"), []),
        (Site(gpu_partition="unlisted"), []),
    ],
)
def test_a_limit_that_is_longer_than_a_partitions_is_said(command: Command, site: Site, said: list[str]) -> None:
    """Where a site does not enforce its limits, sbatch takes such a job, and Slurm never starts it."""
    command("sinfo", LIMITS)
    command("sbatch", "true")
    found = preflight.check({"p/a": SMALL, "p/c": WIDE}, site)
    assert [line[: len(one)] for line, one in zip(found, said, strict=True)] == said
    assert all("Set `max_time: 30 min`" in line for line in found)


@pytest.mark.parametrize(
    "words",
    [
        "allocation failure: Unable to contact slurm controller (connect failure)",
        "sbatch: error: fetch_config: DNS SRV lookup failed\nsbatch: fatal: Could not establish a configuration source",
    ],
)
def test_a_slurm_that_gives_no_answer_is_an_error(command: Command, words: str) -> None:
    command("sbatch", f"printf '{words}' >&2; exit 1")
    with pytest.raises(slurm.SlurmError, match="sbatch"):
        preflight.check({"p/a": SMALL}, Site())


def test_so_is_a_host_without_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(slurm.SlurmError, match=r"there is no sbatch on PATH"):
        preflight.check({"p/a": SMALL}, Site())
