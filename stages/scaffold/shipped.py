"""The files that come with the command and of which projects are made.

In a wheel they lie in stages/shipped, where the build puts this repository's own (pyproject.toml); in a checkout, which
is such a project itself, they lie where they are used. So there is one Snakefile, not two.
"""

from __future__ import annotations

from pathlib import Path

from stages.errors import UserError

PACKAGE = Path(__file__).resolve().parents[1]


def root() -> Path:
    """The directory that contains Snakefile, rules, profiles, slurm, specs and examples. Raises UserError."""
    for folder in (PACKAGE / "shipped", PACKAGE.parent):
        if (folder / "Snakefile").is_file() and (folder / "examples").is_dir():
            return folder
    raise UserError(f"{PACKAGE}: the files that projects are made of are not there. Install stages again.")


def in_place(project: Path) -> bool:
    """Whether a project is the checkout that the command itself is run from: its files are the shipped ones."""
    return project.resolve() == root()
