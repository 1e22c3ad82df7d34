"""What a run leaves that a fatal signal ends: where it was, for who asks why it failed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stages.store import crash, files

DIES = """
import os, sys
from pathlib import Path
from stages.store import crash
def at_work():
    os.kill(os.getpid(), int(sys.argv[2]))
with crash.recorded(Path(sys.argv[1])):
    at_work()
"""
ENDS = """import sys; from pathlib import Path; from stages.store import crash
with crash.recorded(Path(sys.argv[1])): {}"""
NOT_OF_THE_DISK = "from stages.store import files; files.disk = None;" + ENDS  # whose files tests/faults keeps count of
PRINTS_ELSEWHERE = "import faulthandler; faulthandler.enable();" + ENDS


@pytest.mark.parametrize(
    ("number", "name", "advice"),
    [(signal.SIGBUS, "Bus error", crash._UNREADABLE), (signal.SIGSEGV, "Segmentation fault", crash._DEFECT)],
)
def test_a_fatal_signal_leaves_word_and_ends_the_process_as_it_does_anyway(
    number: int, name: str, advice: str, tmp_path: Path
) -> None:
    done = subprocess.run([sys.executable, "-c", DIES, str(tmp_path), str(number)], capture_output=True, check=False)
    assert done.returncode == -number
    assert crash.described(tmp_path) == f"crashed: {name} in at_work (<string>:6); {advice}"


@pytest.mark.parametrize(
    "end", [*(one.format("pass") for one in (ENDS, PRINTS_ELSEWHERE, NOT_OF_THE_DISK)), ENDS.format("raise ValueError")]
)
def test_other_ends_leave_nothing(end: str, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", end, str(tmp_path)], capture_output=True, check=False)
    assert list(tmp_path.iterdir()) == []
    assert crash.described(tmp_path) == ""


def test_a_thread_of_a_library_has_no_line_and_what_else_is_there_tells_nothing(tmp_path: Path) -> None:
    (tmp_path / crash.NAME).write_text("Fatal Python error: Aborted\n\n<no Python frame>\n")
    assert crash.described(tmp_path) == f"crashed: Aborted; {crash._DEFECT}"
    (tmp_path / crash.NAME).write_bytes(b"\xff\x00")
    assert crash.described(tmp_path) == ""


def test_a_disk_that_takes_no_file_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crash.faulthandler, "is_enabled", lambda: False)
    with pytest.raises(files.WriteError, match=r"gone/crash[.]txt"), crash.recorded(tmp_path / "gone"):
        pass
