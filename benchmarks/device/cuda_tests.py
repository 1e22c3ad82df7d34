"""Section: the tests of tests/cuda, on the GPU, several at once. In a rehearsal the same tests run on the CPU."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.device.rows import Row, Rows
from benchmarks.device.sections import Size

TESTS = Path(__file__).resolve().parents[2] / "tests" / "cuda"
# Processes that share the GPU: most of a test is start and small kernels, and machines are lent by the minute.
WORKERS = {"cuda": 6, "cpu": 2}
PATIENCE = 60  # seconds of one test, which then fails by name


class Outcomes:
    """Counts outcomes, and adds a row for every test that fails, at once."""

    def __init__(self, rows: Rows) -> None:
        self.rows, self.counts = rows, {"passed": 0, "failed": 0, "skipped": 0}
        self.skips: dict[str, int] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test counts by its call, or by the set-up or tear-down that failed or skipped it."""
        if report.when == "call" or not report.passed:
            self.counts[report.outcome] += 1
            if report.failed:
                self.rows.add(Row(report.nodeid.replace("tests/cuda/", ""), "", f"failed: {said(report)}", failed=True))
            elif report.skipped and isinstance(report.longrepr, tuple):
                why = report.longrepr[2].removeprefix("Skipped: ")
                self.skips[why] = self.skips.get(why, 0) + 1

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that cannot be imported is a failure, not an absence."""
        if report.failed:
            self.rows.add(Row(report.nodeid, "not collected", f"failed: {said(report)}", failed=True))


def said(report: pytest.TestReport | pytest.CollectReport) -> str:
    """The last line that says what was wrong."""
    wrong = [line for line in report.longreprtext.splitlines() if line.startswith("E ")] or [report.longreprtext]
    return wrong[0].removeprefix("E").strip().replace("|", "/").partition("\n")[0][:200]


def run(size: Size, rows: Rows) -> None:
    os.environ |= {"STAGES_TEST_DEVICE": size.device, "OMP_NUM_THREADS": "1"}
    outcomes = Outcomes(rows)
    # pytest-benchmark warns of several processes, and warnings are errors here.
    asked = ["-v", f"--timeout={PATIENCE}", "-p", "no:cacheprovider", "-p", "no:benchmark", "--durations=5"]
    asked += ["-n", str(WORKERS[size.device]), str(TESTS)]
    code = pytest.main(asked, plugins=[outcomes])
    skipped = "; ".join(f"{count} skipped: {why}" for why, count in sorted(outcomes.skips.items()))
    good = outcomes.counts["passed"] > 0 and code == pytest.ExitCode.OK
    said = f"{outcomes.counts['passed']} passed, {outcomes.counts['failed']} failed"
    rows.add(Row("tests/cuda", skipped, said if good else f"failed: {said}", failed=not good))
