"""The line that says how far a preparation is."""

from __future__ import annotations

import io

import pytest

from stages.data import progress
from stages.data.progress import Progress

MB = 10**6


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_the_rate_and_the_time_left_are_of_what_was_done(clock: list[float]) -> None:
    shown = Progress("mine", 100 * MB, out := io.StringIO())
    clock[0] += 40
    shown.show(20 * MB)
    assert out.getvalue() == "mine: 20% of 100.0 MB read, 0.5 MB/s, 0:02:40 left\n"


def test_what_was_kept_is_done_but_not_in_the_rate(clock: list[float]) -> None:
    shown = Progress("mine", 100 * MB, out := io.StringIO())
    clock[0] += 31
    shown.show(60 * MB, 60 * MB)  # its digests took a while to compare
    clock[0] += 40
    shown.show(70 * MB, 60 * MB)
    assert out.getvalue().splitlines() == [
        "mine: 60% of 100.0 MB read (60.0 MB before)",
        "mine: 70% of 100.0 MB read (60.0 MB before), 0.2 MB/s, 0:02:00 left",
    ]
