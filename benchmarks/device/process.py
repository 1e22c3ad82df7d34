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

ROOT = Path(__file__).resolve().parents[2]
STOP = Event()  # set by a signal: all sections end
GRACE = 5.0  # seconds from SIGTERM to SIGKILL: the tests' section then says how many had passed
OFTEN = 0.5  # seconds between two checks of whether it has to end


class Process:
    """One section; `rows` are those it has written so far."""

    def __init__(self, module: str, device: str, limit: float, folder: Path) -> None:
        """`limit` in seconds; its files are in `folder`."""
        self.module, self.limit = module, limit
        self.rows, self.log = folder / f"{module}.jsonl", folder / f"{module}.log"
        self.command = [sys.executable, "-m", "benchmarks.device.one", module, device, str(self.rows)]

    def run(self) -> list[Row]:
        """Its rows. One that fails, is over its limit or is stopped leaves those it had and a failed one."""
        from benchmarks.device.rows import Row, read

        if self.limit <= 0:
            return [Row(self.module, "", "failed: not begun, the time of the whole run was up", failed=True)]
        began = time.monotonic()
        code = self._wait()
        found = read(self.rows)
        text = self.printed().decode(errors="replace")
        print(text, end="", flush=True)
        if code is None:
            why = "the run was stopped" if STOP.is_set() else f"over its limit of {self.limit:.0f} s"
            found.append(Row(self.module, "", f"failed: {why}", failed=True))
        elif code:
            last = text.strip().replace("|", "/").rpartition("\n")[2][:200]
            found.append(Row(self.module, "", f"failed: exit code {code}: {last}", failed=True))
        found.append(Row(f"{self.module}: the whole section", "", f"{time.monotonic() - began:.0f} s"))
        return found

    def printed(self) -> bytes:
        """All that it printed so far."""
        return self.log.read_bytes() if self.log.exists() else b""

    def _wait(self) -> int | None:
        """Its exit code; None where its limit or a signal ended it. It has a process group of its own."""
        # cuBLAS reads it when CUDA starts; without a fixed workspace its results may differ between runs.
        environ = os.environ | {"PYTHONUNBUFFERED": "1", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
        ends = time.monotonic() + self.limit
        with self.log.open("wb") as out:
            child = subprocess.Popen(
                self.command, cwd=ROOT, env=environ, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )
            while not STOP.is_set() and time.monotonic() < ends:
                try:
                    return child.wait(OFTEN)
                except subprocess.TimeoutExpired:
                    continue
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
