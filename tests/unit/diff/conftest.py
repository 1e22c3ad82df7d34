from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages.commands.diff import print_diff
from tests.unit.spec import small_project

ROOT = Path(__file__).parents[3]
GIT = ["git", "-c", "user.name=a", "-c", "user.email=a@b.invalid", "-c", "commit.gpgsign=false"]
Told = Callable[..., str]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small project and a hardware profile in a git repository with one commit."""
    small_project.write(tmp_path)
    shutil.copytree(ROOT / "specs" / "hardware", tmp_path / "specs" / "hardware")
    subprocess.run([*GIT, "init", "-q", "."], cwd=tmp_path, check=True)
    commit(tmp_path, "one")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def commit(root: Path, message: str) -> None:
    subprocess.run([*GIT, "add", "."], cwd=root, check=True)
    subprocess.run([*GIT, "commit", "-q", "-m", message], cwd=root, check=True)


@pytest.fixture
def told(root: Path, capsys: pytest.CaptureFixture[str]) -> Told:
    """What the command prints for the work tree against HEAD, or between two revisions."""

    def run(
        old: str = "HEAD", new: str | None = None, markdown: bool = False, as_json: bool = False, scale: str = "paper"
    ) -> str:
        print_diff(old, new, scale, "h100", markdown, as_json)
        return capsys.readouterr().out

    return run


def found(told: Told, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(told(as_json=True, **options))
    return found


def refs(changes: list[dict[str, Any]]) -> list[str]:
    return [change["ref"] for change in changes]
