"""What a deep check found damaged, left in the folder itself, so that the next quick check need not find it again.

Without it, `stages status --deep` would name a flipped bit and Snakemake, which looks at sizes only, would run nothing.
The note goes with the folder when a new result takes its place, and is removed when a deep check finds all well.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from stages.printable import printable
from stages.store import files, json_file, manifest, seal
from stages.store.shards import Problem

NAME = "damage.txt"
LIMIT = 1 << 20  # bytes


def problems(folder: Path) -> list[Problem]:
    """What is damaged of a result, each file of which is read in full. Raises ManifestError."""
    return [*seal.problems(folder), *manifest.verify(folder, deep=True)]


def note(folder: Path, found: str) -> None:
    """Write down what was found, or, if that is nothing, remove the note. An error of the disk is passed over."""
    with suppress(OSError, files.WriteError):
        if found:
            files.write_atomic(folder / NAME, f"{found}\n".encode())
        elif (folder / NAME).exists():
            files.disk.unlink(folder / NAME)


def noted(folder: Path) -> str:
    """What an earlier deep check found; empty if it found nothing, or there was none."""
    try:
        return printable(json_file.read_bytes(folder / NAME, LIMIT).decode(errors="replace")).strip()
    except json_file.MissingFileError:
        return ""
    except json_file.JsonFileError as error:
        return str(error)
