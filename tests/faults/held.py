"""A small project whose boxes are held after a step, and what is typed in it, in the background too."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from tests import waiting
from tests.agreement import project as agreement
from tests.paused import Watch


class Project:
    """A project of two boxes, one after the other, in a copy of its own."""

    def __init__(self, folder: Path, watch: Watch) -> None:
        self.inner = agreement.write(folder / "project")
        self.root, self.watch = self.inner.root, watch
        self._started: list[subprocess.Popen[str]] = []
        self.inner.type("stages", "sync")

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Begin a command in a process group of its own, as a terminal does, saying into the file `said`."""
        environment = {**self.inner.environment, **self.watch.environment(str(self.root))}
        with (self.root / "said").open("w") as said:
            process = subprocess.Popen(
                [sys.executable, "-m", *words], cwd=self.root, env=environment, stdout=said, stderr=said, text=True,
                stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        self._started.append(process)
        return process

    def call(self, *words: str) -> tuple[int, str]:
        code = self.end_of(self.start(*words))
        return code, self.said

    def end_of(self, process: subprocess.Popen[str]) -> int:
        """Its exit code, once it has ended."""
        return waiting.end_of(process, lambda: self.said)

    def until(self, what: str, holds: Callable[[], object], under: subprocess.Popen[str] | None = None) -> None:
        """Wait until `holds()`, and no longer than the process lives under which it is to happen."""
        ended = (lambda: under.poll() is not None) if under else (lambda: False)
        waiting.until(what, holds, ended, lambda: self.said)

    @property
    def said(self) -> str:
        return (self.root / "said").read_text()

    def states(self) -> dict[str, str]:
        said = json.loads(self.inner.call("stages", "status", "toy", "--json").out)
        return {one["stage"].partition("/")[2]: one["state"] for one in said}

    def runs(self, box: str) -> list[psutil.Process]:
        """The processes `stages run` of a box in this project."""
        here = [one for one in psutil.process_iter(["cmdline", "cwd"]) if one.info["cwd"] == str(self.root)]
        return [one for one in here if (one.info["cmdline"] or [])[1:5] == ["-m", "stages", "run", f"toy/{box}"]]

    def attempts(self, box: str) -> int:
        """How often a box was begun."""
        found = (self.root / "results/.runs").glob("*/attempt-*/attempt.json")
        return sum(json.loads(path.read_bytes())["ref"] == f"toy/{box}" for path in found)

    def end(self) -> None:
        """End every process that works in this project, and what they start meanwhile; none is left unwaited for."""
        while here := [one for one in psutil.process_iter(["cwd"]) if one.info["cwd"] == str(self.root)]:
            for process in here:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(here, timeout=1)
        for started in self._started:
            started.kill()
            started.wait()
