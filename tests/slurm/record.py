"""results/records/cluster.md: what became of the four stages at each event, as the nightly tests saw it."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock

from tests.slurm.events import EVENTS

PATH = Path(__file__).resolve().parents[2] / "results/records/cluster.md"
OURO = "none: `ouro` at mini, by `snakemake --profile slurm ouro`"
TITLES = (*(event.title for event in EVENTS.values()), OURO)
COLUMNS = ("event", "what Slurm did", "outcome", "steps done twice", "live writers", "seconds")
HEAD = """\
# Events on a cluster

Written by `make nightly` (tests/slurm/test_events.py): each event once, on four stages (one of them on two nodes; a
checkpoint every 10 steps), on a real Slurm of two nodes on one machine. The outcome is compared with the manifests of
an undisturbed local run. No event used a retry. Live writers: the most runs of one stage alive and writing at once.
"""


def write_row(title: str, cells: Sequence[str]) -> None:
    """Put one event's row in its place; the others stay as they were last seen."""
    with FileLock(Path(tempfile.gettempdir()) / "stages-cluster-record.lock"):
        rows = read() | {title: [title, *cells, _today()]}
        PATH.write_text(_text([rows[title] for title in TITLES if title in rows]))


def read() -> dict[str, list[str]]:
    """The rows by event's title."""
    if not PATH.exists():
        return {}
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in PATH.read_text().splitlines() if "|" in line
    ]
    return {row[0]: row for row in rows[2:]}


def _text(rows: Sequence[Sequence[str]]) -> str:
    lines = [[*COLUMNS, "date"], ["---"] * (len(COLUMNS) + 1), *rows]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{HEAD}\n{_versions()}, {os.cpu_count()} cores.\n\n{table}\n"


def _versions() -> str:
    slurm = subprocess.run(["slurmctld", "-V"], capture_output=True, text=True, check=True).stdout.strip()
    packages = ("snakemake", "snakemake-executor-plugin-slurm", "torch")
    named = [f"{package} {importlib.metadata.version(package)}" for package in packages]
    return ", ".join([slurm.replace("slurm-wlm", "Slurm"), *named])


def _today() -> str:
    return datetime.datetime.now(tz=datetime.UTC).date().isoformat()
