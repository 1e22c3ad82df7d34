"""Pointers of Git LFS: what a clone without it has in place of large files, among them weights, tables, tokenizers."""

from __future__ import annotations

from pathlib import Path

from stages.errors import UserError

BEGINS = b"version https://git-lfs.github.com/spec/v1\n"
LONGEST = 1024  # bytes of a pointer, by Git LFS's specification


def refuse(path: Path, name: str, size: int) -> None:
    """Raise UserError where a file of so many bytes is a pointer. Raises OSError for one that cannot be read."""
    if not 0 < size < LONGEST:
        return
    with path.open("rb") as file:
        if file.read(len(BEGINS)) == BEGINS:
            raise UserError(
                f"{name}: a pointer of Git LFS, not the file itself. Fetch it: `git lfs pull` where it was cloned, or "
                "`hf download`."
            )
