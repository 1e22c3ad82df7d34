"""docs/your-model-and-data.md as files and commands: what the page says is what is run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parents[3] / "docs" / "your-model-and-data.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks() -> list[tuple[str, str]]:
    """(language, content) of the page's blocks, in order."""
    return BLOCK.findall(PAGE.read_text(encoding="utf-8"))


def files() -> dict[str, str]:
    """Files by the path that their first line says."""
    found = [text for language, text in blocks() if language in ("yaml", "python")]
    return {text.split("\n", 1)[0].removeprefix("# "): text for text in found}


def mistakes() -> dict[str, str]:
    """The table of mistakes: what was done, and what is said about it (its parts in backquotes)."""
    table = PAGE.read_text(encoding="utf-8").partition("## When it says no")[2]
    rows = [line.strip("|").split(" | `", 1) for line in table.splitlines() if line.startswith("| ")]
    return {done.strip(): said.split("`")[0] for done, said in (row for row in rows if len(row) == 2)}


def write(root: Path) -> None:
    """Every file of the page."""
    for name, text in files().items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def run(root: Path, commands: str) -> subprocess.CompletedProcess[str]:
    """Commands as a person types them: `stages` and `python` are those of this interpreter."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    return subprocess.run(["bash", "-euc", commands], cwd=root, env=environment, capture_output=True, text=True)


def follow(root: Path) -> str:
    """Do what the page says; returns what was printed. Fails with what a command said."""
    write(root)
    said = ""
    for language, commands in blocks():
        if language == "sh":
            done = run(root, commands)
            assert done.returncode == 0, f"{commands}\n{done.stdout}\n{done.stderr}"
            said += done.stdout
    return said
