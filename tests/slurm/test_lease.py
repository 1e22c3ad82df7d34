"""A lease over two hosts, one of which freezes and comes back: never two living holders, and the ghost finds out."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from stages.store import holder
from tests.slurm.cluster import Cluster, wait_for

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


@pytest.mark.slow
def test_a_frozen_node_loses_its_lease_and_finds_out_when_it_wakes(cluster: Cluster, tmp_path: Path) -> None:
    first = submit(cluster, tmp_path, "n1")
    wait_for((tmp_path / "held-n1").exists, "n1 to hold the lease")
    second = submit(cluster, tmp_path, "n2")
    wait_for((tmp_path / "refused").exists, "n2 to be refused")
    assert f"on host n1 (Slurm job {first} on n1)" in (tmp_path / "refused").read_text()
    assert not (tmp_path / "held-n2").exists(), "a living lease is not taken"

    cluster.nodes["n1"].freeze()
    long_ago = (tmp_path / "lease.json").stat().st_mtime - 2 * holder.STALE
    os.utime(tmp_path / "lease.json", (long_ago, long_ago))  # so long has it been frozen
    wait_for((tmp_path / "held-n2").exists, "n2 to take over")
    cluster.nodes["n1"].thaw()
    wait_for(lambda: "lost" in [event["event"] for event in events(tmp_path)], "n1 to find out")
    # The log speaks of the heartbeat; the run itself looks a moment later, and is to find n2 there and not nobody.
    wait_for(lambda: "lost its lease" in (tmp_path / "n1.txt").read_text(), "n1's run to end")
    (tmp_path / "over").touch()
    wait_for(lambda: len(events(tmp_path)) == 4, "n2 to release")
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
