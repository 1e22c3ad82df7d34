"""When a job gets the signal that its time is nearly over."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from threading import Event

import pytest

from stages.cluster import deadline
from tests.unit.cluster.conftest import Command, answers, left
from tests.waiting import until


def asked(folder: Path) -> int:
    path = folder / "bin/asked"
    return len(path.read_text().splitlines()) if path.exists() else 0


def watched() -> bool:
    return any(thread.name == "deadline" for thread in threading.enumerate())


def wait_for(mark: Event) -> None:
    until("a mark", mark.is_set, lambda: not watched())


def wait_until_asked(folder: Path, times: int) -> None:
    until(f"asked {times} times", lambda: asked(folder) >= times, lambda: not watched())


def wait_for_watchers() -> None:
    """Wait until nobody watches any more: then nothing can come."""
    until("the end of the watchers", lambda: not watched())


def test_each_mark_comes_once_and_in_order_and_the_controller_is_hardly_asked(command: Command, tmp_path: Path) -> None:
    command("squeue", left(6))
    began, seen, last = time.monotonic(), [], Event()
    marks = [(3.0, lambda: seen.append((time.monotonic() - began, last.is_set()))), (1.0, last.set)]
    with deadline.watching("7", marks):
        wait_for(last)
    ((after, too_late),) = seen
    assert after > 1.9
    assert not too_late
    assert asked(tmp_path) <= 7


def test_a_limit_that_is_extended_moves_the_mark(command: Command, tmp_path: Path) -> None:
    command("squeue", answers(4, 3, 40))
    due = Event()
    with deadline.watching("7", [(2.0, due.set)]):
        wait_until_asked(tmp_path, 3)  # at the beginning, before the wait, and when the moment seemed to have come
        assert not due.wait(1)
    wait_for_watchers()
    assert not due.is_set()
    assert asked(tmp_path) == 3


@pytest.mark.parametrize("first", ["8:00:00", "0:50"], ids=["a limit that is lowered", "a short job"])
def test_with_less_than_twice_the_marks_time_the_mark_comes_when_half_of_it_is_left(
    first: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadline, "LOOK", 0.1)
    command("squeue", left(first))
    due = Event()
    with deadline.watching("7", [(300.0, due.set)]):
        assert not due.wait(0.5)
        command("squeue", left("0:50"))
        assert not due.wait(0.5), "fifty of about fifty seconds are left"
        command("squeue", left("0:00"))
        wait_for(due)


def test_without_a_limit_there_is_no_mark(command: Command) -> None:
    command("squeue", left("UNLIMITED"))
    due = Event()
    with deadline.watching("7", [(300.0, due.set)]):
        assert not due.wait(0.5)


def test_nothing_comes_once_the_block_is_left(command: Command, tmp_path: Path) -> None:
    command("squeue", answers(3))
    due = Event()
    with deadline.watching("7", [(1.0, due.set)]):
        wait_until_asked(tmp_path, 2)
    command("squeue", answers(0))
    wait_for_watchers()
    assert not due.is_set()


def test_a_controller_that_is_away_is_asked_again(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadline, "LOOK", 0.1)
    command("squeue", "echo 'slurm_load_jobs error: Zero Bytes were transmitted or received' >&2; exit 1")
    due = Event()
    with deadline.watching("7", [(300.0, due.set)]):
        assert not due.wait(0.5)
        command("squeue", left(1))
        wait_for(due)
