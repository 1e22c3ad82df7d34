"""Stages that tests watch and hold while they run, in other processes. See sitecustomize.py."""

from __future__ import annotations

import os
from pathlib import Path

HERE = Path(__file__).resolve().parent


class Watch:
    """Orders to the boxes that run with this environment, and their reports."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def environment(self, python_path: str) -> dict[str, str]:
        """What their processes are to be started with, besides this PYTHONPATH."""
        return {"WATCHED": str(self.folder), "PYTHONPATH": os.pathsep.join([str(HERE), python_path])}

    def hold(self, box: str, step: int) -> None:
        """Have a box that has not come so far wait after this step."""
        (self.folder / f"{box}.hold").write_text(str(step))

    def let_go(self, box: str) -> None:
        """Have it go on."""
        (self.folder / f"{box}.hold").unlink()

    def steps(self, box: str) -> list[int]:
        """Every step that a box has done, of all its runs, in order."""
        path = self.folder / f"{box}.steps"
        text = path.read_text() if path.exists() else ""
        return [int(line) for line in text[: text.rfind("\n") + 1].splitlines()]
