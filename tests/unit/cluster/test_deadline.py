"""When a job is told that its time is nearly over."""

from __future__ import annotations

import time
from pathlib import Path
from threading import Event

import pytest

from stages.cluster import deadline
from tests.unit.cluster.conftest import Command, left

PATIENCE = 10.0


def asked(folder: Path) -> int:
    return len((folder / "bin/asked").read_text().splitlines())


def test_each_mark_comes_once_and_in_order_and_the_controller_is_hardly_asked(command: Command, tmp_path: Path) -> None:
    command("squeue", left(6))
    began, seen, last = time.monotonic(), [], Event()
    marks = [(3.0, lambda: seen.append((time.monotonic() - began, last.is_set()))), (1.0, last.set)]
    with deadline.watching("7", marks):
        assert last.wait(PATIENCE)
    ((after, too_late),) = seen
    assert after > 1.9
    assert not too_late
    assert asked(tmp_path) <= 7


def test_a_limit_that_is_extended_moves_the_mark(command: Command) -> None:
    command("squeue", left(4))
    due = Event()
    with deadline.watching("7", [(2.0, due.set)]):
        command("squeue", left(40))
        assert not due.wait(3)
        command("squeue", left(1))


def test_a_job_shorter_than_twice_the_mark_gets_half_of_its_time(command: Command) -> None:
    command("squeue", left(6))
    began, due = time.monotonic(), Event()
    with deadline.watching("7", [(300.0, due.set)]):
        assert due.wait(PATIENCE)
        assert 1.9 < time.monotonic() - began < 5


def test_without_a_limit_there_is_no_mark(command: Command) -> None:
    command("squeue", left("UNLIMITED"))
    due = Event()
    with deadline.watching("7", [(300.0, due.set)]):
        assert not due.wait(0.5)


def test_nothing_comes_once_the_block_is_left(command: Command) -> None:
    command("squeue", left(3))
    due = Event()
    with deadline.watching("7", [(1.0, due.set)]):
        pass
    assert not due.wait(3)


def test_a_controller_that_is_away_is_asked_again(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadline, "LATER", 0.1)
    command("squeue", "echo 'slurm_load_jobs error: Zero Bytes were transmitted or received' >&2; exit 1")
    due = Event()
    with deadline.watching("7", [(300.0, due.set)]):
        assert not due.wait(0.5)
        command("squeue", left(1))
        assert due.wait(PATIENCE)
