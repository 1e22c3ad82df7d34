"""A small finished project under git and DVC, and what is typed in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import yaml

from stages.data.preparing import measured, prepare
from tests import edits
from tests.agreement.specs import CORPORA, SPECS, TOKENIZER
from tests.unit.data.small import IMAGES, ZERO, spec, write_spec

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("Snakefile", "rules/common.smk", "profiles/default", "slurm", ".dvcignore", ".gitignore", "stages")


class Called(NamedTuple):
    """A command's exit code, what it said on stdout, and what on stderr."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """Both, one after the other: what a program that it started says lies in no line of its own."""
        return self.out + self.err


@dataclass(frozen=True)
class Project:
    """A project's folder."""

    root: Path

    @cached_property
    def environment(self) -> dict[str, str]:
        """Its own copy of the package, and no cache that is shared with another project."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "COV_"))}
        return {
            **kept,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(self.root),
            "OMP_NUM_THREADS": "1",
            "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": str(self.root / ".dvc/tmp/site"),
            "XDG_CACHE_HOME": str(self.root / ".dvc/tmp/xdg"),
            **{f"GIT_{who}_{what}": "test@test" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        }

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Begin a command."""
        command = list(words) if words[0] == "git" else [sys.executable, "-m", *words]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=self.root, env=self.environment, stdout=pipe, stderr=pipe, text=True)

    def call(self, *words: str) -> Called:
        """Type a command, whatever it ends with."""
        process = self.start(*words)
        out, err = process.communicate()
        return Called(process.returncode, out, err)

    def type(self, *words: str, fails: bool = False) -> str:
        """Type a command and return what it says; it must succeed, or fail where that is expected."""
        done = self.call(*words)
        assert (done.code != 0) == fails, f"{' '.join(words)} ended with {done.code}:\n{done.said}"
        return done.said

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace the one occurrence of `old` in a file of the project."""
        edits.edit(self.root / file, old, new)

    def commit(self, message: str) -> None:
        self.type("git", "add", "--all")
        self.type("git", "commit", "--quiet", "--message", message)

    def copy(self, folder: Path) -> Project:
        """The same project elsewhere, with the times of its files."""
        shutil.copytree(self.root, folder, symlinks=True)
        return Project(folder)


def write(root: Path) -> Project:
    """The project as it stands in git: specs with declared corpora, rules, the package."""
    for name in COPIED:
        source, target = ROOT / name, root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    write_specs(root)
    return Project(root)


def write_specs(root: Path) -> None:
    """Its specs alone, the corpora built and declared."""
    for name, text in SPECS.items():
        path = root / "specs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    write_spec(root, "tokenizer", {**TOKENIZER, "digest": ZERO})
    for name, count in CORPORA.items():
        images = IMAGES if name in ("captions", "pairs") else {}
        write_spec(root, name, spec(name, parameters={"count": count, **images}))
    for name in ("tokenizer", *CORPORA):
        declare(root, name, root / "results/mini/data" / name)


def declare(root: Path, name: str, out: Path) -> None:
    """Build a corpus into `out` and put into its spec what it came out with, as `stages data NAME --accept` says."""
    made = prepare.prepare(root, name, out, accept=True)
    declared = yaml.safe_load((root / "specs/data" / f"{name}.yaml").read_text())
    write_spec(root, name, {**declared, **yaml.safe_load(measured.declaration(made))})


def finish(project: Project) -> Project:
    """Trained by Snakemake, recorded and pushed by DVC, committed in git."""
    project.type("stages", "sync")
    project.type("git", "init", "--quiet", "--initial-branch", "main")
    project.type("dvc", "init", "--quiet")
    project.type("dvc", "remote", "add", "--quiet", "--default", "folder", str(project.root.parent / "remote"))
    project.type("snakemake")
    project.type("stages", "record-dvc")
    project.type("dvc", "push", "--quiet")
    project.commit("a finished pipeline")
    return project
