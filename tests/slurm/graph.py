"""The four boxes under way on a cluster: drive them, watch them, and see afterwards what was lost and who wrote."""

from __future__ import annotations

import csv
import json
import re
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.spec.project import Project
from tests.paused import Watch
from tests.slurm.cluster import Cluster, environment, inside
from tests.slurm.four_boxes import BOXES
from tests.waiting import until

# Soon enough for a test; a real cluster is asked less often.
FLAGS = ("--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "10")
PATIENCE = 900.0  # seconds for anything that is waited for
EARLY = 45  # steps after which a box that is held waits: between two checkpoints, of which there are a few


@dataclass(frozen=True)
class Job:
    """What Slurm knows of a box's job, also after its end."""

    id: str
    state: str
    restarts: int
    node: str


@dataclass(frozen=True)
class Writer:
    """One run of a box: when it took the lease, and when it wrote for the last time."""

    host: str
    taken: float
    last: float


class Graph:
    """One project on one cluster."""

    def __init__(self, cluster: Cluster, project: Path) -> None:
        self.cluster, self.project = cluster, project
        self.keys = {ref.split("/")[1]: key for ref, key in Project.load(project).keys("mini").items()}
        self._watch = Watch(project / "watched")
        self._driver: subprocess.Popen[str] | None = None

    def start(self, hold: Sequence[str] = ()) -> subprocess.Popen[str]:
        """`snakemake --profile slurm`, as a person types it. Boxes in `hold` wait after step EARLY to be let go."""
        for box in hold:
            self._watch.hold(box, EARLY)
        env, words = self._watch.environment(environment()["PYTHONPATH"]), ["snakemake", "--profile", "slurm", *FLAGS]
        with (self.project / "said").open("a") as said:
            more = {"stdin": subprocess.DEVNULL, "stdout": said, "stderr": said}
            self._driver = self.cluster.popen(words, self.project, env, **more)
        return self._driver

    def finish(self, driver: subprocess.Popen[str], code: int = 0) -> None:
        """Wait for a driver's end."""
        try:
            driver.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            inside(driver).send_signal(signal.SIGKILL)
            driver.wait()
            raise AssertionError(f"the driver did not end\n{self.said()}\n{self.cluster.logs()}") from None
        assert driver.returncode == code, f"exit code {driver.returncode}\n{self.said()}"

    def said(self) -> str:
        """What the drivers printed, what Slurm's own files have, and how the jobs are."""
        logs = sorted(path for path in (self.project / "results/.slurm").rglob("*.log") if path.is_file())
        parts = [(path.name, path.read_text(errors="replace")) for path in (self.project / "said", *logs)]
        parts.append(("jobs", self.cluster.run(["squeue", "--states=all"])))
        return "\n".join(f"== {name}\n{text}" for name, text in parts)

    def jobs(self, box: str) -> list[Job]:
        """The jobs that were ever submitted for a box, the first one first."""
        found = []
        for line in self.cluster.run(["scontrol", "--oneliner", "show", "jobs"]).splitlines():
            fields = dict(re.findall(r"(\w+)=(\S*)", line))
            if fields.get("Comment") == f"rule_four__{box}":
                found.append(Job(fields["JobId"], fields["JobState"], int(fields["Restarts"]), fields["NodeList"]))
        return sorted(found, key=lambda job: int(job.id))

    def job(self, box: str) -> Job:
        """The only job of a box."""
        (found,) = self.jobs(box)
        return found

    def attempts(self, box: str) -> list[Path]:
        """The folders of a box's runs, in order."""
        return sorted((self.project / "results/.runs" / self.keys[box]).glob("attempt-*"))

    def until(self, what: str, holds: Callable[[], object]) -> None:
        """Wait until `holds()`, and no longer than the driver lives under which it is to happen."""
        until(what, holds, lambda: self._driver is None or self._driver.poll() is not None, self.said, PATIENCE)

    def wait_steps(self, box: str) -> None:
        """Wait until a box that is held has come so far: it stands after step EARLY, some steps after a checkpoint."""
        self.until(f"step {EARLY} of {box}", lambda: EARLY in self._watch.steps(box))

    def let_go(self, box: str) -> None:
        """Have a box that is held go on."""
        self._watch.let_go(box)

    def wait_state(self, box: str, *states: str) -> None:
        """Wait until the newest job of a box is in one of these states."""
        self.until(f"{box} to be {states}", lambda: self.jobs(box)[-1].state in states)

    def leases(self, box: str) -> list[dict[str, object]]:
        """What leases.jsonl tells of a box."""
        path = self.project / "results/.runs" / self.keys[box] / "leases.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def writers(self, box: str) -> list[Writer]:
        """Every run of a box. The last write of one that did not release its lease is the newest file that it left."""
        events = self.leases(box)
        released = {event["token"]: event["time"] for event in events if event["event"] == "released"}
        taken = [event for event in events if event["event"] == "taken"]
        folders = self.attempts(box)
        assert len(taken) == len(folders), (events, folders)
        return [
            Writer(
                str(event["host"]), float(str(event["time"])), float(str(released.get(event["token"], _newest(folder))))
            )
            for event, folder in zip(taken, folders, strict=True)
        ]

    def most_writers(self) -> int:
        """How many runs of one box were alive and writing at the same moment, at most."""
        return max(_overlap(self.writers(box)) for box in BOXES if self.attempts(box))

    def lost_steps(self) -> int:
        """Steps that were done twice, over all boxes that are finished."""
        place = self.project / "results/mini/four"
        return sum(
            len(self._watch.steps(box)) - _rows(place / box / "timing.csv") for box in BOXES if (place / box).is_dir()
        )


def _overlap(writers: list[Writer]) -> int:
    """The largest number of writers that are between their lease and their last write at one moment."""
    return max(sum(other.taken <= one.taken <= other.last for other in writers) for one in writers)


def _newest(folder: Path) -> float:
    """When a run wrote for the last time. Why it ended, and the last rows of its tables, may come after that."""
    late = (
        "finding.json",
        "metrics.csv",
        "timing.csv",
        "checksums.csv",
    )  # also as .finding.json.123.tmp, if it is killed over it
    files = (path for path in folder.rglob("*") if path.is_file() and not any(name in path.name for name in late))
    return max(path.stat().st_mtime for path in files)


def _rows(table: Path) -> int:
    with table.open() as lines:
        return sum(1 for _ in csv.DictReader(lines))
