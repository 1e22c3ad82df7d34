"""What a new project holds: the base, which newer versions may change, and an example, the user's from then on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from stages import __version__
from stages.scaffold import shipped

# The base: its path in a project -> where it is among the shipped files.
BASE = {
    "Snakefile": "Snakefile",
    "rules/common.smk": "rules/common.smk",
    "profiles/default/config.yaml": "profiles/default/config.yaml",
    "slurm/config.yaml": "slurm/config.yaml",
    "slurm/site.yaml": "slurm/site.yaml",
    ".dvc/config": ".dvc/config",
    ".dvc/.gitignore": ".dvc/.gitignore",
    ".dvcignore": "examples/base/dvcignore",
    ".gitignore": "examples/base/gitignore",
    ".github/workflows/ci.yml": "examples/base/ci.yml",
    "ci.sh": "examples/base/ci.sh",
    "requirements.txt": "examples/base/requirements.txt",
}
EXECUTABLE = ("ci.sh",)
TINY = "tiny"
HARDWARE = "specs/hardware/laptop_cpu.yaml"  # what the plan of a project on a CPU is priced on


def base() -> dict[str, bytes]:
    """Path -> content of every file of the base."""
    root = shipped.root()
    return {path: _filled((root / source).read_bytes()) for path, source in BASE.items()}


def example(name: str) -> dict[str, bytes]:
    """Path -> content of the files of an example, among them README.md."""
    root = shipped.root()
    found = dict(_tree(root / "examples" / TINY))
    return {**found, HARDWARE: (root / HARDWARE).read_bytes()}


def examples() -> tuple[str, ...]:
    """The names of all examples, the smallest first."""
    return (TINY,)


def _tree(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path.read_bytes()


def _filled(content: bytes) -> bytes:
    return content.replace(b"{{version}}", __version__.encode())
