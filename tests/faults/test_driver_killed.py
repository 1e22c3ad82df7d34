"""A driver that is ended on one machine while its stage runs on: one call afterwards does all that is left.

The stage is held after a step, so it is in the middle whenever the driver goes.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.faults.held import Project
from tests.paused import Watch

STEP = 3  # the first box is held after it, between two checkpoints
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path, Watch(tmp_path / "watched"))
    # Whoever runs tests in the background of a shell has SIGINT ignored, and so would every process that is started.
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield made
    signal.signal(signal.SIGINT, inherited)
    made.end()


@contextmanager
def in_the_middle(project: Project, *driver: str) -> Iterator[subprocess.Popen[str]]:
    """The first box has done some steps under this driver, and goes on when the block is over."""
    project.watch.hold("text", STEP)
    process = project.start(*driver)
    project.until("the first box", lambda: STEP in project.watch.steps("text"), process)
    yield process
    project.watch.let_go("text")


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


def all_done(project: Project) -> None:
    assert project.states()["text"] == project.states()["chat"] == "done"
    assert project.attempts("text") == project.attempts("chat") == 1


@pytest.mark.nightly
def test_after_a_kill_and_the_end_of_the_stage_one_call_does_all_that_is_left(project: Project) -> None:
    with in_the_middle(project, "snakemake", "toy__chat") as driver:
        kill(driver)
    project.until("the end of the first box", lambda: not project.runs("text"))
    code, said = project.call("snakemake", "toy__chat")
    assert code == 0, said
    assert "is gone: its lock was removed" in said
    all_done(project)


def test_the_next_call_waits_for_a_stage_that_runs_on(project: Project) -> None:
    with in_the_middle(project, "snakemake", "toy__chat") as driver:
        kill(driver)
        (running,) = project.runs("text")
        again = project.start("snakemake", "toy__chat")
        project.until("word of it", lambda: f"toy/text: waiting for process {running.pid}" in project.said, again)
    assert project.end_of(again) == 0, project.said
    all_done(project)


def test_the_lock_of_a_living_driver_stays(project: Project) -> None:
    with in_the_middle(project, "snakemake", "toy__chat") as driver:
        code, said = project.call("snakemake", "toy__chat")
        assert code == 1
        assert f"snakemake, process {driver.pid} on host" in said
        assert "LockException" in said
    assert project.end_of(driver) == 0
    all_done(project)


def test_after_ctrl_c_what_next_advises_and_one_call_do_the_rest(project: Project) -> None:
    project.watch.hold("text", STEP)
    driver = project.start("snakemake", "toy__chat")
    project.until("the first box", lambda: STEP in project.watch.steps("text"), driver)
    os.killpg(driver.pid, signal.SIGINT)
    assert project.end_of(driver) == 1
    project.watch.let_go("text")
    advice = re.search(r"next: (stages run \S+ --scale mini)", project.inner.call("stages", "status", "--failed").said)
    assert advice is not None
    assert project.call(*advice[1].split())[0] == 0
    code, said = project.call("snakemake", "toy__chat")
    assert code == 0, said
    assert project.states()["chat"] == "done"


@pytest.mark.parametrize("whom", [pytest.param("dvc", marks=pytest.mark.nightly), "dvc and its snakemake"])
def test_dvc_goes_on_after_a_kill_in_one_call(project: Project, whom: str) -> None:
    for words in (("git", "init", "--quiet"), ("dvc", "init", "--quiet")):
        project.inner.type(*words)
    with in_the_middle(project, "dvc", "repro", "toy__chat") as driver:
        children = psutil.Process(driver.pid).children(recursive=True)
        below = [one for one in children if any(word.endswith("snakemake") for word in one.cmdline()[:3])]
        assert below
        for process in below if "snakemake" in whom else ():
            process.kill()
        kill(driver)
        again = project.start("dvc", "repro", "toy__chat")
        project.until("word of it", lambda: "waiting for" in project.said, again)
    assert project.end_of(again) == 0, project.said
    all_done(project)
    assert "up to date" in project.inner.type("dvc", "status", "toy__chat", "toy__text")
