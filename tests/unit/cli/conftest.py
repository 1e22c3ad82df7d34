"""Commands that are run in the tests' own process, in a small project with runs and jobs."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from stages.spec.project import Project
from stages.store import attempts, progress
from stages.store.layout import Layout
from stages.train.stopping import ASKING
from tests.unit.cli.status_lines import Squeue
from tests.unit.spec import small_project


@pytest.fixture(autouse=True)
def requests() -> Iterator[None]:
    """A command that was stopped ignores signals until its process ends; that of the tests goes on."""
    before = {number: signal.getsignal(number) for number in ASKING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small project, which is also the working directory, on a machine without Slurm."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.chdir(small_project.write(tmp_path))
    return tmp_path


@pytest.fixture
def squeue(toy: Path, monkeypatch: pytest.MonkeyPatch) -> Squeue:
    """Have Slurm say these jobs: lines of id, state, comment, time left and nodes. Those that wait do so for others."""

    def say(lines: str) -> None:
        folder = toy / "bin"
        folder.mkdir(exist_ok=True)
        why = {True: "Priority", False: "None"}
        rows = "\n".join(f"{'|'.join(line.split(' '))}|{why['PENDING' in line]}|{toy}" for line in lines.splitlines())
        (folder / "squeue").write_text(f"#!/bin/sh\nprintf '%s\\n' '{rows}'\n")
        (folder / "squeue").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:/bin")

    return say


@pytest.fixture
def runs(toy: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Begin an attempt of this process at a stage, which is at `step` of 400, a tenth of a second each."""
    layout, keys = Layout(toy, "mini"), Project.load(toy).keys("mini")
    with ExitStack() as stack:

        def begin(ref: str, step: int) -> Path:
            attempt = stack.enter_context(attempts.start(layout, ref, keys[ref], {}))
            progress.write(attempt.folder, "main", step, 400, 0.1)
            return attempt.folder

        yield begin
