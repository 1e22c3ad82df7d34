"""The pages of `stages report` in `snakemake --report`: files that rules take, and that Snakemake puts into its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from stages.sync.machine_needs import SNAKEMAKE


def asked(words: Sequence[str]) -> bool:
    """Whether a command line of Snakemake's asks for its report."""
    return any(word == "--report" or word.startswith("--report=") for word in words)


def folder(root: Path, scale: str) -> Path:
    """Where the pages are written for it, each time."""
    return root / SNAKEMAKE / "stages-report" / scale


def there(root: Path, scale: str, pipelines: Iterable[str]) -> dict[str, str]:
    """Pipeline -> its page, relative to the project, of those that have one: variants without a result have none."""
    found = {name: folder(root, scale) / f"{name}.html" for name in pipelines}
    return {name: path.relative_to(root).as_posix() for name, path in found.items() if path.is_file()}
