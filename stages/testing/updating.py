"""The end of a session: what tests reported of goldens, the table of an update, its reason, and the writing."""

from __future__ import annotations

import hashlib
import os
import shlex
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from stages.errors import UserError
from stages.testing import golden
from stages.testing.golden_check import command

COLUMNS = ("golden", "what changed", "first step", "largest change")
Reports = list[tuple[str, str, Any]]


def refuse(config: pytest.Config) -> None:
    """Goldens are written by people who give a reason. Raises UsageError in CI, and where no one can answer."""
    if os.environ.get("CI"):
        raise pytest.UsageError("--stages-update is refused where CI is set: update goldens by hand and review them.")
    if (config.getoption("stages_reason") or "").strip() or hasattr(config, "workerinput"):
        return
    if not _asked(config, lambda: sys.stdin.isatty()):
        raise pytest.UsageError("--stages-update asks for a reason, and this is no terminal: --stages-reason TEXT.")


def close(config: pytest.Config, reporter: pytest.TerminalReporter, reported: Reports) -> None:
    """Print what tests reported, and write what they found where an update was requested."""
    notes = [str(value) for _, name, value in reported if name in ("stages-note", "stages-twin")]
    if notes:
        reporter.section("goldens")
        reporter.write_line("\n".join(dict.fromkeys(notes)))
    unused = [str(value) for _, name, value in reported if name == "stages-unused"]
    if unused:
        reporter.section("goldens of no test")
        reporter.write_line("\n".join(f"  {path}" for path in unused), red=True)
        reporter.write_line("remove them, or update with a reason; the session has failed")
    _missing(config, reporter, [node for node, name, _ in reported if name == "stages-missing"])
    found = [dict(value) for _, name, value in reported if name == "stages-change"]
    update = config.getoption("stages_update")
    if not update or hasattr(config, "workerinput"):
        return
    if not found:
        others = "" if config.getoption("stages") else " (of a project's stages: add --stages)"
        reporter.section("goldens")
        reporter.write_line(f"--stages-update: no golden has changed{others}")
        return
    reporter.section("goldens to be written")
    for line in table([one["row"] for one in found]):
        reporter.write_line(line)
    reason = (config.getoption("stages_reason") or "").strip() or _asked(config, lambda: input("reason: ")).strip()
    if not reason:
        reporter.write_line("no reason, so nothing was written", red=True)
        raise pytest.exit.Exception("no reason for --stages-update; nothing was written", returncode=1)
    written = 0
    try:
        for one in found:
            _write(one, reason)
            written += 1
    except (UserError, OSError) as error:
        reporter.write_line(f"{written} of {len(found)} goldens written, then: {error}", red=True)
        raise pytest.exit.Exception("a golden could not be written", returncode=1) from error
    reporter.write_line(f"{len(found)} golden{'s' * (len(found) != 1)} written; reason: {reason}")


def _missing(config: pytest.Config, reporter: pytest.TerminalReporter, nodes: list[str]) -> None:
    """The one command that makes all goldens that are missing; none where it would also change others."""
    failed = {report.nodeid for kind in ("failed", "error") for report in reporter.stats.get(kind, [])}
    if len(nodes) > 1 and failed == set(nodes):
        reporter.section("goldens that are missing")
        typed = shlex.join(map(str, config.invocation_params.args))
        reporter.write_line(f"{len(nodes)} goldens. Make all of them: {command(typed)}")


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
    # Another session may be writing other environments of the same golden.
    lock = f"stages-golden-{hashlib.sha256(change['path'].encode()).hexdigest()[:16]}.lock"
    with FileLock(Path(tempfile.gettempdir()) / lock):
        _write_alone(change, reason)


def _write_alone(change: dict[str, Any], reason: str) -> None:
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
