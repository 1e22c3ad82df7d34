"""A section as a process of its own: its rows and all that it printed, whatever ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.device.rows import Row
    from benchmarks.device.sections import Section

ROOT = Path(__file__).resolve().parents[2]
STOP = Event()  # set by a signal: all sections end
GRACE = 5.0  # seconds from SIGTERM to SIGKILL: the tests' section then says how many had passed
OFTEN = 0.5  # seconds between two checks of whether it has to end
PRINTED = 1 << 20  # bytes of what a section printed that are kept, the last ones
# Where compilers keep what they made: no run finds another's, and the home folder need not be writable.
CACHES = ("TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "CUDA_CACHE_PATH")


class Process:
    """One section; `rows` are those it has written so far."""

    def __init__(self, section: Section, device: str, limit: float, folder: Path) -> None:
        """`limit` in seconds; its files are in `folder`."""
        self.name, self.limit, self.folder = section.name, limit, folder
        self.begun_again = bool(section.part)
        self.rows, self.log = folder / f"{section.name}.jsonl", folder / f"{section.name}.log"
        self.command = [sys.executable, "-m", "benchmarks.device.one", section.name, device, str(self.rows)]

    def run(self) -> list[Row]:
        """Its rows. One that fails, is over its limit or is stopped leaves those it had and a failed one."""
        from benchmarks.device.rows import Row, read

        if self.limit <= 0:
            return [Row(self.name, "", "failed: not begun, the time of the whole run was up", failed=True)]
        began, seen = time.monotonic(), 0
        while (code := self._wait(began + self.limit)) and self.begun_again and len(read(self.rows)) > seen:
            seen = len(read(self.rows))
        found = read(self.rows)
        text = self.printed().decode(errors="replace")
        print(text, end="", flush=True)
        if code is None:
            why = "the run was stopped" if STOP.is_set() else f"over its limit of {self.limit:.0f} s"
            found.append(Row(self.name, "", f"failed: {why}", failed=True))
        elif code:
            last = text.strip().replace("|", "/").rpartition("\n")[2][:200]
            found.append(Row(self.name, "", f"failed: exit code {code}: {last}", failed=True))
        found.append(Row(f"{self.name}: the whole section", "", f"{time.monotonic() - began:.0f} s"))
        return found

    def printed(self) -> bytes:
        """What it printed so far."""
        return self.log.read_bytes()[-PRINTED:] if self.log.exists() else b""

    def _wait(self, ends: float) -> int | None:
        """Its exit code; None where its limit or a signal ended it. It has a process group of its own."""
        # Read when CUDA starts. Without a fixed workspace results may differ between runs; memory as a stage sets it.
        environ = os.environ | {"PYTHONUNBUFFERED": "1", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
        environ |= {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}
        environ |= {name: str(self.folder / name.lower()) for name in CACHES}
        with self.log.open("ab") as out:
            child = subprocess.Popen(
                self.command, cwd=ROOT, env=environ, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )
            while not STOP.is_set() and time.monotonic() < ends:
                try:
                    code = child.wait(OFTEN)
                except subprocess.TimeoutExpired:
                    continue
                _end(child)  # what it left running holds memory of the device
                return code
            _end(child)
            return None


def _end(child: subprocess.Popen[bytes]) -> None:
    """SIGTERM to its process group, and SIGKILL where it is still there after `GRACE`."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
            child.wait(GRACE)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
