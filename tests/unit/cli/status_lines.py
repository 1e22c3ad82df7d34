"""What `stages status` prints, and the rows of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stages.commands.status import print_status

Squeue = Callable[[str], None]  # has Slurm say these jobs


def said(capsys: pytest.CaptureFixture[str], code: int = 0, named: str | None = None, **options: bool) -> str:
    asked = {"deep": False, "failed": False, "as_json": False, **options}
    assert print_status("mini", (named,) if named else (), **asked) == code
    return capsys.readouterr().out


def row(text: str, ref: str) -> str:
    return " ".join(next(line for line in text.splitlines() if line.startswith(ref)).split())
