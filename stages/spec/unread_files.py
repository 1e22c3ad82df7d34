"""What lies below specs/ and is not read: a file under another ending is a spec that its author thinks is in force."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from stages.errors import SpecError, Where
from stages.spec.files import Files
from stages.spec.names import NOT_PIPELINES

ENDING = ".yaml"
NOTES = (".md",)  # what people keep next to specs, and is clearly none


def strays(files: Files) -> Iterator[SpecError]:
    """Entries of specs/ that no command reads: files of another ending, directories without a pipeline.yaml."""
    for entry in _visible(files.specs):
        if not entry.is_dir():
            yield _stray(files, entry, "directories of specs", f"Move it into a directory of {files.specs.name}/.")
            continue
        found = _visible(entry)
        for inner in found:
            if inner.suffix != ENDING:
                allowed = f"files that end in {ENDING}"
                yield _stray(files, inner, allowed, f"Rename it to {inner.stem}{ENDING}, or remove it.")
        if found and entry.name not in NOT_PIPELINES and not (entry / "pipeline.yaml").exists():
            yield _stray(files, entry, "pipelines, which have a pipeline.yaml", "Write it, or remove the directory.")


def _visible(folder: Path) -> list[Path]:
    """Entries that are neither hidden, nor an editor's copy, nor notes."""
    entries = sorted(folder.iterdir())
    return [one for one in entries if not one.name.startswith(".") and not one.name.endswith(("~", *NOTES))]


def _stray(files: Files, path: Path, allowed: str, repair: str) -> SpecError:
    return SpecError(Where(files.relative(path), 1), "the name", repr(path.name), allowed, repair)
