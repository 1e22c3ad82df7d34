"""What a killed process runs: `stages run` on one stage. It records what it does, and ends where its caller says.

The trail is written straight to the file, so that it survives the process: "at PLACE", "resumed N", "step N".
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from stages.commands import find_project
from stages.commands import run as command
from stages.engines import checkpoints, results, training
from stages.errors import UserError
from stages.spec.resolved_phases import Phase
from stages.store import files, partials
from stages.train import loop
from stages.train.checkpoint import Counters
from stages.train.loop import Run
from stages.train.stepper import Stepper
from tests.faults import defects
from tests.faults.cases import PROJECT, RELEASES, SCALE, Case
from tests.faults.disks import Failing

PLACES = ("start", "step", "checkpoint", "result", "commit")


@dataclass(frozen=True)
class Job:
    """A case in its project's folder; the process dies at change `at` of the disk in `place`, if `at` is not 0."""

    case: Case
    root: Path
    place: str = ""
    at: int = 0
    defect: str = ""  # one of tests.faults.defects, put into the code
    background: bool = False  # whether checkpoints are written while training goes on


class Trail:
    """Tells what the process does, and where it is."""

    def __init__(self, root: Path) -> None:
        self._handle = os.open(root / "trail", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        self._places = threading.local()

    def write(self, *words: object) -> None:
        os.write(self._handle, (" ".join(map(str, words)) + "\n").encode())

    @property
    def place(self) -> str:
        """Where this thread is: a checkpoint may be written by one, while another goes on with steps."""
        return getattr(self._places, "now", PLACES[0])

    def enter(self, place: str) -> None:
        self._places.now = place
        self.write("at", place)


class Deadly(Failing):
    """Kills the process at the n-th change that it makes in a place: before it or, when it writes, half-way through."""

    def __init__(self, trail: Trail, place: str, at: int) -> None:
        super().__init__(at, None, lasting=False)
        self.trail, self.deadly, self.changes = trail, place, Counter[str]()

    def _step(self, call: Callable[..., Any], *arguments: Any) -> Any:
        self.changes[self.trail.place] += 1
        if self.trail.place == self.deadly and self.changes[self.deadly] == self.at:
            if call.__name__ == "write":
                handle, data = arguments
                os.write(handle, data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments)


def main(job: Job) -> None:
    """Run the case's stage as `stages run` does. Exit code 0, or that of an error, which is written to ROOT/said."""
    with (job.root / "said").open("a", buffering=1) as said:
        sys.stdout = sys.stderr = said
        trail = Trail(job.root)
        disk = Deadly(trail, job.place, job.at)
        with (
            mock.patch.object(files, "disk", disk),
            mock.patch.object(checkpoints, "in_background", return_value=job.background),
        ):
            defects.put(job.defect)
            watch(trail)
            trail.enter("start")
            try:
                stages_run(job.case, job.root)
            except UserError as error:
                print(error)
                sys.exit(error.exit_code)
            except Exception:
                traceback.print_exc()
                sys.exit(1)
        trail.write("changes", *(f"{place}={count}" for place, count in sorted(disk.changes.items())))


def stages_run(case: Case, root: Path) -> None:
    """`stages run` in a project that has this case's stages only."""
    releases = root / RELEASES
    project = SimpleNamespace(stages=case.stages, keys=case.keys, absent={}, unreadable={})
    with (
        mock.patch.object(command.Gate, "refuse"),  # no specs are behind these stages
        mock.patch.object(find_project, "open_project", return_value=(root, PROJECT)),
        mock.patch.object(find_project.graph, "readable", return_value=project),
    ):
        command.run_stage(case.ref, SCALE, releases if releases.exists() else None)


def watch(trail: Trail) -> None:
    """Have the trail written by what the engine calls."""

    def entering(place: str, call: Callable[..., Any], leaving: str = "") -> Callable[..., Any]:
        def wrapped(*args: Any, **more: Any) -> Any:
            trail.enter(place)
            found = call(*args, **more)
            if leaving:
                trail.enter(leaving)
            return found

        return wrapped

    def record(run: Run, phase: Phase, stepper: Stepper, counters: Counters, *rest: Any, **named: Any) -> None:
        recorded(run, phase, stepper, counters, *rest, **named)
        trail.write("step", counters.steps)

    def load(*args: Any, **named: Any) -> Counters:
        counters = loaded(*args, **named)
        trail.write("resumed", counters.steps)
        return counters

    recorded, loaded = loop.record, training.checkpoint.load
    loop.record, training.checkpoint.load = record, load
    training.run_phase = entering("step", training.run_phase)
    partials.save = entering("checkpoint", partials.save, leaving="step")
    results.write_model = entering("result", results.write_model)
    results.complete = entering("commit", results.complete)
