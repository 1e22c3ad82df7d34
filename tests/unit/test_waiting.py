"""A test that waits in vain fails as soon as that is known, and says what it has heard."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from tests.waiting import end_of, until


def start(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code], text=True)


def test_what_can_no_more_happen_is_not_waited_for() -> None:
    process, began = start(""), time.monotonic()
    with pytest.raises(AssertionError, match="no more to be expected: a step\nwhat it said"):
        until("a step", lambda: False, lambda: process.poll() is not None, lambda: "what it said")
    assert time.monotonic() - began < 60


def test_what_happens_last_counts() -> None:
    """The look that comes before the end of the process may come before its last act."""
    looks = iter([False, True])
    until("a step", lambda: next(looks), lambda: True)


def test_there_is_an_end_to_patience() -> None:
    with pytest.raises(AssertionError, match=r"waited 0.1 s for a step\nwhat it said"):
        until("a step", lambda: False, said=lambda: "what it said", seconds=0.1)


def test_a_process_that_does_not_end_is_named_with_what_it_said() -> None:
    assert end_of(start("raise SystemExit(3)"), lambda: "") == 3
    process = start("import time; time.sleep(60)")
    try:
        with pytest.raises(AssertionError, match=r"waited 0.1 s for the end of a process\nwhat it said"):
            end_of(process, lambda: "what it said", seconds=0.1)
    finally:
        process.kill()
        process.wait()


def test_no_test_of_every_day_may_hang(request: pytest.FixtureRequest) -> None:
    pytest.importorskip("pytest_timeout")
    if request.config.getoption("timeout") is None:
        assert request.node.get_closest_marker("timeout") is not None
