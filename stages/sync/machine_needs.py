"""What Snakemake needs of a machine: without it, one line before anything is run in place of Snakemake's traceback."""

from __future__ import annotations

import binascii
import os
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from pathlib import Path

from stages.errors import UserError

SNAKEMAKE = ".snakemake"  # its own folder in the project
NOTES = f"{SNAKEMAKE}/metadata"  # a file on each file that a job made, called by its path in Base64
FREE = 1 << 20  # bytes that Snakemake may write


def refuse_unreadable_notes(root: Path) -> None:
    """Raise UserError where Snakemake keeps notes on a file that is there, and this user may not read them: Snakemake
    gives them to the user whose job it was, and to that user's group.
    """
    for note, name in _notes(root):
        if not os.access(note, os.R_OK) and (root / name).exists():
            raise UserError(
                f"{note.parent}: Snakemake reads its notes on {name} there, which are another user's, and only that "
                f"user's group may read. `chgrp -R GROUP {note.parent}` to a group of all who share the project, or "
                "work in a clone of your own. `stages status` needs no notes."
            )


def refuse_full_disk(root: Path) -> None:
    """Raise UserError where Snakemake has no disk space for its log, its locks and its notes."""
    folder = root / SNAKEMAKE
    disk = os.statvfs(folder)
    if disk.f_bavail * disk.f_frsize < FREE or (disk.f_files and not disk.f_favail):
        raise UserError(
            f"{folder}: its disk is full, and Snakemake writes there. Nothing was run. Free space there (`df -h`, and "
            "`df -i` for the number of files); then give the command again."
        )


def _notes(root: Path) -> Iterator[tuple[Path, str]]:
    """Snakemake's notes, each with the path of the file that it is about."""
    folder = root / NOTES
    for note in sorted(folder.iterdir()) if folder.is_dir() else ():
        try:
            yield note, urlsafe_b64decode(note.name).decode()
        except (binascii.Error, UnicodeDecodeError):
            continue  # a part of a name that is longer than a file's may be, or a file that is not Snakemake's
