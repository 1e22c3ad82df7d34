"""Section: the tests of tests/cuda, on the GPU, several at once. In a rehearsal the same tests run on the CPU."""

from __future__ import annotations

import os
import re
import signal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from benchmarks.device.rows import Row, Rows
from benchmarks.device.sections import Size

TESTS = Path(__file__).resolve().parents[2] / "tests" / "cuda"
# What was never seen to pass on a GPU comes first, and what takes longest; the other files follow.
FIRST = (
    "test_waiting", "test_stages", "test_resume", "test_ranks", "test_evaluations", "test_attention", "test_head",
    "test_checksums", "test_ops",
)  # fmt: skip
# Processes that share the GPU: most of a test is start and small kernels, and machines are lent by the minute.
WORKERS = {"cuda": 6, "cpu": 2}
PATIENCE = {"cuda": 90, "cpu": 600}  # seconds of one test, which then fails by name; a rehearsal has other work beside
PLACE = re.compile(r"^((?:stages|tests)/\S+\.py:\d+)", re.MULTILINE)
LONGEST = 600  # characters of what went wrong


class Outcomes:
    """Counts outcomes, and adds a row for every test that fails, at once."""

    def __init__(self, rows: Rows) -> None:
        self.rows, self.counts = rows, {"passed": 0, "failed": 0, "skipped": 0}
        self.skips: dict[str, int] = {}
        self.expected, self.failed = 0, set[str]()

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: list[str]) -> None:
        """Every process collects all tests."""
        self.expected = len(ids)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test counts by its call, or by the set-up or tear-down that failed or skipped it."""
        if report.nodeid in self.failed:  # its tear-down too, or the process that ended after it
            return
        if report.when == "call" or not report.passed:
            self.counts[report.outcome] += 1
            if report.failed:
                self.failed.add(report.nodeid)
                self.rows.add(Row(report.nodeid.replace("tests/cuda/", ""), "", f"failed: {said(report)}", failed=True))
            elif report.skipped and isinstance(report.longrepr, tuple):
                why = report.longrepr[2].removeprefix("Skipped: ")
                self.skips[why] = self.skips.get(why, 0) + 1

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that cannot be imported is a failure, not an absence."""
        if report.failed:
            self.rows.add(Row(report.nodeid, "not collected", f"failed: {said(report)}", failed=True))

    def row(self, good: bool) -> Row:
        """How many passed, failed, were skipped and why, and were not come to."""
        left = self.expected - sum(self.counts.values())
        found = f"{self.counts['passed']} passed, {self.counts['failed']} failed"
        found += f", {left} not come to" if left > 0 else ""
        skipped = "; ".join(f"{count} skipped: {why}" for why, count in sorted(self.skips.items()))
        return Row("tests/cuda", skipped, found if good else f"failed: {found}", failed=not good)


def said(report: pytest.TestReport | pytest.CollectReport) -> str:
    """What was wrong, all lines of it in one, and the last place in our code on the way there."""
    text = report.longreprtext
    wrong = [line.removeprefix("E").strip() for line in text.splitlines() if line.startswith("E ")] or [text]
    places = PLACE.findall(text)
    own = [place for place in places if place.startswith("stages/")] or places
    return f"{' '.join(wrong)[:LONGEST]}{f' ({own[-1]})' if own else ''}".replace("|", "/").replace("\n", " ")


def files() -> list[str]:
    """The files of tests, in the order in which they are worth knowing."""
    found = sorted(TESTS.glob("test_*.py"))
    return [*(str(TESTS / f"{name}.py") for name in FIRST), *(str(path) for path in found if path.stem not in FIRST)]


def run(size: Size, rows: Rows) -> None:
    os.environ |= {"STAGES_TEST_DEVICE": size.device, "OMP_NUM_THREADS": "1"}
    outcomes = Outcomes(rows)

    def ended(*_: object) -> None:
        """At the limit: what is known goes into the record, and pytest is not waited for."""
        rows.add(outcomes.row(good=False))
        os._exit(1)

    signal.signal(signal.SIGTERM, ended)
    # pytest-benchmark warns of several processes, and warnings are errors here.
    asked = ["-v", "-p", "no:cacheprovider", "-p", "no:benchmark", "--durations=10", "--tb=short"]
    # By a thread: no signal is answered by a test that waits for a kernel. Its process ends, another takes the others.
    asked += [f"--timeout={PATIENCE[size.device]}", "--timeout-method=thread"] if find_spec("pytest_timeout") else []
    asked += ["-n", str(WORKERS[size.device]), *files()]
    code = pytest.main(asked, plugins=[outcomes])
    rows.add(outcomes.row(good=outcomes.counts["passed"] > 0 and code == pytest.ExitCode.OK))
