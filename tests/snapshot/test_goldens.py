"""Goldens cannot rot: a missing or an unused one fails, and CI refuses to write any."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SUITE = "def test_kept(snapshot):\n    assert 1 == snapshot\n"
OTHER = "def test_removed(snapshot):\n    assert 2 == snapshot\n"


def pytest_in(folder: Path, *words: str, ci: bool) -> tuple[int, str]:
    """A session of its own, under this project's settings and with its conftest."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("CI", "PYTEST", "COV"))}
    environment |= {"PYTHONPATH": str(ROOT)} | ({"CI": "true"} if ci else {})
    plugins = ("-p", "no:cacheprovider", "-p", "no:inline_snapshot", "-p", "tests.conftest")
    command = [sys.executable, "-m", "pytest", "-q", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(folder)]
    command += [*plugins, *words, str(folder)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_missing_and_unused_goldens_fail_and_ci_writes_none(tmp_path: Path) -> None:
    file = tmp_path / "test_small.py"
    file.write_text(SUITE + OTHER)
    code, said = pytest_in(tmp_path, ci=True)
    assert code == 1, said
    assert "2 snapshots failed" in said
    code, said = pytest_in(tmp_path, "--snapshot-update", ci=True)
    assert code != 0
    assert "--snapshot-update is refused where CI is set" in said
    assert not (tmp_path / "__snapshots__").exists()
    assert pytest_in(tmp_path, "--snapshot-update", ci=False)[0] == 0
    file.write_text(SUITE)
    code, said = pytest_in(tmp_path, ci=True)
    assert code == 1, said
    assert "1 snapshot unused" in said
