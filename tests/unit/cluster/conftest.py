"""Stand-ins for Slurm's commands, where the real ones would take minutes. tests/slurm asks the real ones."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.commands import in_job

Command = Callable[[str, str], None]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Put a shell script on a PATH that has nothing else of Slurm. What is asked is listed in bin/asked."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/bin")
    for name in ("squeue", "scontrol", "scancel"):
        (folder / name).write_text(f"#!/bin/sh\necho {name}: not expected >&2; exit 1\n")
        (folder / name).chmod(0o755)

    def put(name: str, script: str) -> None:
        new = folder / f"{name}.new"
        new.write_text(f'#!/bin/sh\necho "{name} $@" >> {folder}/asked\n{script}\n')
        new.chmod(0o755)
        new.replace(folder / name)

    return put


@pytest.fixture
def vanished(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A word for each time that a run would have ended itself, which would end the tests too."""
    times: list[str] = []
    monkeypatch.setattr(in_job, "ENDING", 0.0)
    monkeypatch.setattr(in_job, "_vanish", lambda: times.append("vanished"))
    return times


def left(seconds: int | str) -> str:
    """squeue of a job with so many seconds left at this moment."""
    if isinstance(seconds, str):
        return f"echo '7|RUNNING||{seconds}|n1|None|/p'"
    end = int(time.time()) + seconds
    return f'left=$(({end} - $(date +%s)))\necho "7|RUNNING||0:$(printf %02d $((left > 0 ? left : 0)))|n1|None|/p"'


def answers(*seconds: int) -> str:
    """squeue of a job with so many seconds left when it is asked for the first time, the second time, ...: no clock.

    The last answer holds from then on. To be put after nothing else was asked.
    """
    listed = " ".join(f"{one:02d}" for one in seconds)
    return f"set -- {listed}\nasked=$(wc -l < ${{0%/*}}/asked)\n" + (
        f'shift $((asked > {len(seconds)} ? {len(seconds) - 1} : asked - 1))\necho "7|RUNNING||0:$1|n1|None|/p"'
    )
