"""What a new project contains: the base, which newer versions may change, and an example, the user's from then on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from stages import __version__
from stages.scaffold import published, schemas, shipped

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
}
EXECUTABLE = ("ci.sh",)
TINY = "tiny"
PUBLISHED = ("llama31_1m", "kimi_vl", "ouro")
REQUIREMENTS = "requirements.txt"
USERS = ("README.md", REQUIREMENTS)  # an example's, and the user's from then on: also where an older base had them
HARDWARE = "specs/hardware/laptop_cpu.yaml"  # what the plan of a project on a CPU is priced on


def base() -> dict[str, bytes]:
    """Path -> content of every file of the base."""
    root = shipped.root()
    return {path: _filled((root / source).read_bytes()) for path, source in BASE.items()}


def example(name: str) -> dict[str, bytes]:
    """Path -> content of the files of an example, among them README.md and requirements.txt."""
    return {path: schemas.named(path, content) for path, content in _example(name).items()}


def _example(name: str) -> dict[str, bytes]:
    root = shipped.root()
    if name == TINY:
        found = {**dict(_tree(root / "examples" / TINY)), HARDWARE: (root / HARDWARE).read_bytes()}
        return {**found, "requirements.txt": _filled(_base(REQUIREMENTS), extras="pytest")}
    readme = _filled(_base("README.md"), pipeline=name)
    return {
        **published.specs(root, name),
        "README.md": readme,
        "requirements.txt": _filled(_base(REQUIREMENTS), extras="mini,pytest"),
    }


def examples() -> tuple[str, ...]:
    """The names of all examples, the smallest first."""
    return (TINY, *PUBLISHED)


def _base(name: str) -> bytes:
    return (shipped.root() / "examples/base" / name).read_bytes()


def _tree(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path.read_bytes()


def _filled(content: bytes, **words: str) -> bytes:
    """A text with `{{name}}` replaced by what is so called, the version among it."""
    for name, word in {"version": __version__, **words}.items():
        content = content.replace(f"{{{{{name}}}}}".encode(), word.encode())
    return content
