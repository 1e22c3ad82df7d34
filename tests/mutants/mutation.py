"""Mutation of the code, piece by piece: `python -m tests.mutants.mutation [PIECE ...]` (called by `make mutation`).

Each piece (pieces.py) has a folder of its own in mutants/, in which mutmut keeps what became of every mutant. A run
that was broken off goes on. Of a piece that was run before, the mutants of edited functions are tried again; where its
tests were edited, those that no test had noticed too. `rm -r mutants` begins from nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from mutmut.stats import status_by_exit_code

from stages.report.commit import commit
from tests.mutants.pieces import PIECES, Piece

NOTICED = ("killed", "timeout")  # a loop without an end does not pass either
LINKED = ("stages", "specs", "tests", "docs", "results", "rules", "slurm", "profiles")
FILES = ("Snakefile", "dvc.yaml", "constraints.txt", "Makefile", "README.md", "CHANGELOG.md", "CONTRIBUTING.md")
ALSO_COPY = (*(name for name in LINKED if name not in ("stages", "results")), "results/records", *FILES)
WORDS = ("-p", "no:cacheprovider", "--inline-snapshot=disable", "-m", "not slow and not nightly")
SETTINGS = """
[tool.mutmut]
source_paths = ["stages"]
only_mutate = {modules}
also_copy = {also_copy}
# seconds, and how often the tests' own time: on a busy machine a test waits for its turn
timeout_constant = 5.0
timeout_multiplier = 6.0
pytest_add_cli_args = {words}
pytest_add_cli_args_test_selection = {tests}
"""


def run(root: Path, piece: Piece) -> None:
    """Try what has not been tried of a piece; raises CalledProcessError where its tests fail on unchanged code."""
    folder = prepared(root, piece)
    tests, noted = piece.digest(root), folder / "tests.txt"
    if noted.exists() and noted.read_text() != tests:
        _forget_survivors(folder)
    noted.write_text(tests)
    (folder / "commit.txt").write_text(commit(root))
    environment = {**os.environ, "STAGES_HYPOTHESIS": "mutation"}
    subprocess.run(["mutmut", "run", "--max-children", "2"], cwd=folder, env=environment, check=True)


def folder_of(root: Path, piece: Piece) -> Path:
    """Where a piece is run."""
    return root / "mutants" / piece.name


def prepared(root: Path, piece: Piece) -> Path:
    """The piece's folder: links to the project, and the project's settings with those of mutmut."""
    folder = folder_of(root, piece)
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*LINKED, *FILES):
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(root / name)
    words = [*WORDS, *(f"--deselect=tests/{test}" for test in piece.without)]
    lists = {"modules": piece.sources(root), "also_copy": list(ALSO_COPY), "tests": piece.selection(), "words": words}
    settings = SETTINGS.format(**{key: json.dumps(each) for key, each in lists.items()})
    (folder / "pyproject.toml").write_text((root / "pyproject.toml").read_text() + settings)
    return folder


def _forget_survivors(folder: Path) -> None:
    """Have mutmut try them again, with the tests that there are, and find out again which of these reach a function."""
    (folder / "mutants" / "mutmut-stats.json").unlink(missing_ok=True)
    shutil.rmtree(folder / "mutants" / "tests", ignore_errors=True)
    for meta in (folder / "mutants" / "stages").rglob("*.py.meta"):
        kept = json.loads(meta.read_text())
        codes = kept["exit_code_by_key"]
        kept["exit_code_by_key"] = {
            name: code if status_by_exit_code[code] in NOTICED else None for name, code in codes.items()
        }
        meta.write_text(json.dumps(kept))


def main() -> None:
    root, names = Path.cwd(), sys.argv[1:]
    for piece in PIECES:
        if not names or piece.name in names:
            run(root, piece)


if __name__ == "__main__":
    main()
