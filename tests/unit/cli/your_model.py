"""docs/your-model-and-data.md as files and commands: what the page says is what is run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests import page
from tests.page import Page

PAGE = Page("your-model-and-data.md")


def blocks() -> list[tuple[str, str]]:
    """(language, content) of the page's blocks, in order."""
    return PAGE.blocks()


def mistakes() -> dict[str, str]:
    """The table of mistakes: what was done, and what is said about it (its parts in backquotes)."""
    table = PAGE.text.partition("## When it says no")[2]
    rows = [line.strip("|").split(" | `", 1) for line in table.splitlines() if line.startswith("| ")]
    return {done.strip(): said.split("`")[0] for done, said in (row for row in rows if len(row) == 2)}


def write(root: Path) -> None:
    """Every file of the page."""
    for name, text in PAGE.files().items():
        page.write(root, name, text)


def run(root: Path, commands: str) -> subprocess.CompletedProcess[str]:
    """Commands as a person types them: `stages` and `python` are those of this interpreter."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    return subprocess.run(["bash", "-euc", commands], cwd=root, env=environment, capture_output=True, text=True)


def follow(root: Path) -> str:
    """Do what the page says once it is installed; returns what was printed. Fails with what a command said."""
    write(root)
    said = ""
    install, *rest = blocks()
    assert install == ("sh", "pip install '/path/to/stages[data]'\n")
    for language, commands in rest:
        if language == "sh":
            done = run(root, commands)
            assert done.returncode == 0, f"{commands}\n{done.stdout}\n{done.stderr}"
            said += done.stdout
    return said
