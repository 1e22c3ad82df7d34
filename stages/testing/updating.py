"""The end of a session: what tests said of goldens, the table of an update, its reason, and the writing."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from stages.testing import golden

COLUMNS = ("golden", "what changed", "first step", "largest change")
Said = Iterable[tuple[str, str, Any]]


def refuse(config: pytest.Config) -> None:
    """Goldens are written by people who give a reason. Raises UsageError without --stages, in CI, and where no person
    can be asked.
    """
    if not config.getoption("stages"):
        raise pytest.UsageError("--stages-update updates the goldens of --stages; give both.")
    if os.environ.get("CI"):
        raise pytest.UsageError("--stages-update is refused where CI is set: update goldens by hand and review them.")
    if (config.getoption("stages_reason") or "").strip() or hasattr(config, "workerinput"):
        return
    if not _asked(config, lambda: sys.stdin.isatty()):
        raise pytest.UsageError("--stages-update asks for a reason, and this is no terminal: --stages-reason TEXT.")


def close(config: pytest.Config, reporter: pytest.TerminalReporter, said: Said) -> None:
    """Print what tests said, and write what they found where an update was asked for."""
    notes = [str(value) for _, name, value in said if name in ("stages-note", "stages-twin")]
    if notes:
        reporter.section("goldens")
        reporter.write_line("\n".join(dict.fromkeys(notes)))
    found = [dict(value) for _, name, value in said if name == "stages-change"]
    if not found or hasattr(config, "workerinput"):
        return
    reporter.section("goldens to be written" if config.getoption("stages_update") else "goldens")
    for line in table([one["row"] for one in found]):
        reporter.write_line(line)
    reason = (config.getoption("stages_reason") or "").strip() or _asked(config, lambda: input("reason: ")).strip()
    if not reason:
        reporter.write_line("no reason, so nothing was written", red=True)
        raise pytest.exit.Exception("no reason for --stages-update; nothing was written", returncode=1)
    for one in found:
        _write(one, reason)
    reporter.write_line(f"{len(found)} goldens written; reason: {reason}")


def _asked(config: pytest.Config, ask: Any) -> Any:
    """What a person at the terminal says, while pytest's capture is off."""
    capture = config.pluginmanager.getplugin("capturemanager")
    if capture is not None:
        capture.suspend_global_capture(in_=True)
    try:
        return ask()
    finally:
        if capture is not None:
            capture.resume_global_capture()


def table(rows: Iterable[Iterable[str]]) -> list[str]:
    """Rows of COLUMNS, each column as wide as it has to be."""
    lines = [COLUMNS, *(tuple(row) for row in rows)]
    wide = [max(len(line[number]) for line in lines) for number in range(len(COLUMNS))]
    return ["  ".join(cell.ljust(size) for cell, size in zip(line, wide, strict=True)).rstrip() for line in lines]


def _write(change: dict[str, Any], reason: str) -> None:
    path, environment = Path(change["path"]), change["environment"]
    if change["golden"] is None:
        path.unlink()
        return
    entry = {"about": {"reason": reason, **change["about"]}, "golden": change["golden"]}
    if not environment:
        golden.write(path, entry)
        return
    known = golden.read(path).get("environments", {})
    golden.write(path, {"environments": dict(sorted({**known, environment: entry}.items()))})
