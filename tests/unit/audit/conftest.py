"""A new project, into which recipes are adopted."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from stages.scaffold import init


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return init.create(tmp_path_factory.mktemp("made") / "project", "tiny")


@pytest.fixture
def project(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new project, which is the working directory."""
    folder = tmp_path / "project"
    shutil.copytree(made, folder, symlinks=True)
    monkeypatch.chdir(folder)
    return folder
