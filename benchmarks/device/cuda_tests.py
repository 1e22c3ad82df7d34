"""Section: the tests of tests/cuda, on the GPU. In a rehearsal the same tests run on the CPU."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.device.rows import Row, Rows
from benchmarks.device.sections import Size

TESTS = Path(__file__).resolve().parents[2] / "tests" / "cuda"


class Told:
    """Counts outcomes, and adds a row for every test that fails, at once."""

    def __init__(self, rows: Rows) -> None:
        self.rows, self.outcomes = rows, {"passed": 0, "failed": 0, "skipped": 0}
        self.skips: dict[str, int] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test counts by its call, or by the set-up or tear-down that failed or skipped it."""
        if report.when == "call" or not report.passed:
            self.outcomes[report.outcome] += 1
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
    os.environ["STAGES_TEST_DEVICE"] = size.device
    told = Told(rows)
    code = pytest.main(["-q", "-p", "no:cacheprovider", "--durations=5", str(TESTS)], plugins=[told])
    skipped = "; ".join(f"{count} skipped: {why}" for why, count in sorted(told.skips.items()))
    good = told.outcomes["passed"] > 0 and code == pytest.ExitCode.OK
    said = f"{told.outcomes['passed']} passed, {told.outcomes['failed']} failed"
    rows.add(Row("tests/cuda", skipped, said if good else f"failed: {said}", failed=not good))
