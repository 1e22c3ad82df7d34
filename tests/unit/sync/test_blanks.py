"""Blanks and quotes in the paths that a shell reads: the project's, its virtual environment's, the releases'."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

from tests.agreement import project as small
from tests.agreement.project import Project

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Elsewhere(Project):
    """A project whose virtual environment lies below another folder."""

    venv: Path

    @cached_property
    def environment(self) -> dict[str, str]:
        inherited = super().environment
        return {**inherited, "PATH": f"{self.venv / 'bin'}:{inherited['PATH']}"}

    def python(self, *words: str) -> str:
        """What the environment's Python says; it must succeed."""
        command = [str(self.venv / "bin/python"), *words]
        done = subprocess.run(command, cwd=self.root, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Elsewhere:
    """A small project below "it's my work", with Python below "my venv"; git and DVC know it."""
    folder = tmp_path_factory.mktemp("it's my work ")
    made = Elsewhere(small.write(folder / "a project").root, folder / "my venv")
    made.venv.symlink_to(Path(sys.executable).parents[1])
    (made.root / "my models").mkdir()
    made.python("-m", "stages", "sync")
    made.type("git", "init", "--quiet", "--initial-branch", "main")
    made.type("dvc", "init", "--quiet")
    made.commit("specs")
    return made


def finished(project: Project) -> list[str]:
    return sorted(path.parent.name for path in project.root.glob("results/mini/toy/*/manifest.json"))


def test_snakemake_trains_draws_and_tells(project: Elsewhere) -> None:
    said = project.python("-m", "snakemake", "toy__text", "--config", "releases=my models")
    assert finished(project) == ["text"]
    assert "toy/text" in said, "the closing table"
    assert list(project.root.glob("results/mini/toy/text/plots/*.png")), "the pictures"


@pytest.mark.nightly
def test_dvc_calls_snakemake(project: Elsewhere) -> None:
    project.python("-m", "dvc", "repro", "toy__chat")
    assert finished(project) == ["chat", "text"]
