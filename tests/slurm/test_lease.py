"""A lease over two hosts, one of which freezes and comes back: never two living holders, and the ghost finds out."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages.store import holder
from tests.slurm.cluster import Cluster
from tests.waiting import until

# Holds the lease on a folder, as soon as it can have it, until it is lost or the folder has a file `over`.
HOLDER = """
import sys, time
from pathlib import Path
from threading import Event
from stages.store import files, lease
lease.BEAT = 0.2
folder, lost = Path(sys.argv[1]), Event()
while True:
    try:
        with lease.hold(folder, "toy/one", lost.set) as mine:
            (folder / f"held-{mine.host}").touch()
            while not lost.is_set() and not (folder / "over").exists():
                time.sleep(0.1)
            lease.check(folder, mine)
        break
    except lease.HeldError as error:
        files.write_atomic(folder / "refused", str(error).encode())
        time.sleep(0.1)
"""


def submit(cluster: Cluster, folder: Path, node: str) -> str:
    words = ["sbatch", "--parsable", f"--nodelist={node}", "--mem=500", f"--output={folder}/{node}.txt"]
    script = folder / "holder.py"
    script.write_text(HOLDER)
    return cluster.run([*words, "--wrap", f"{sys.executable} {script} {folder}"], cwd=folder).strip()


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "leases.jsonl").read_text().splitlines()]


def said(folder: Path) -> str:
    return "\n".join(path.read_text() for path in sorted(folder.glob("n*.txt")))


@pytest.mark.slow
def test_a_frozen_node_loses_its_lease_and_finds_out_when_it_wakes(cluster: Cluster, tmp_path: Path) -> None:
    def come(what: str, holds: Callable[[], object]) -> None:
        until(what, holds, lambda: any(map(cluster.over, jobs)), lambda: said(tmp_path))

    jobs = [first := submit(cluster, tmp_path, "n1")]
    come("n1 to hold the lease", (tmp_path / "held-n1").exists)
    jobs.append(second := submit(cluster, tmp_path, "n2"))
    come("n2 to be refused", (tmp_path / "refused").exists)
    assert f"on host n1 (Slurm job {first} on n1)" in (tmp_path / "refused").read_text()
    assert not (tmp_path / "held-n2").exists(), "a living lease is not taken"

    cluster.nodes["n1"].freeze()
    long_ago = (tmp_path / "lease.json").stat().st_mtime - 2 * holder.STALE
    os.utime(tmp_path / "lease.json", (long_ago, long_ago))  # so long has it been frozen
    until("n2 to take over", (tmp_path / "held-n2").exists, lambda: cluster.over(second), lambda: said(tmp_path))
    cluster.nodes["n1"].thaw()
    until("n1 to find out", lambda: "lost" in [event["event"] for event in events(tmp_path)])
    # The log speaks of the heartbeat; the run itself looks a moment later, and is to find n2 there and not nobody.
    until("n1's run to end", lambda: "lost its lease" in (tmp_path / "n1.txt").read_text())
    (tmp_path / "over").touch()
    until("n2 to release", lambda: len(events(tmp_path)) == 4)
    assert [(event["event"], event["host"], event["job"], event["token"]) for event in events(tmp_path)] == [
        ("taken", "n1", first, 1),
        ("taken", "n2", second, 2),
        ("lost", "n1", first, 1),
        ("released", "n2", second, 2),
    ]
    assert (
        f"this run lost its lease (held now by process {events(tmp_path)[1]['pid']} on host n2"
        in (tmp_path / "n1.txt").read_text()
    )
