"""Whether a file was changed since it was opened, without reading it: its size, time of modification and inode."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple


class FileState(NamedTuple):
    """What changes when a file is written to, or another one takes its place: size in bytes, modification time in
    nanoseconds, inode number. The time of a change of the inode is left out: a hard link or a chmod changes it too.
    """

    size: int
    modified: int
    inode: int


def of(path: Path) -> FileState:
    """The state of a file. Raises OSError."""
    found = path.stat()
    return FileState(found.st_size, found.st_mtime_ns, found.st_ino)


class OpenFiles:
    """Files that are mapped into memory. A replaced one keeps its content for processes that have it mapped."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._before = {path: of(path) for path in paths if path.is_file()}

    def modified(self) -> list[Path]:
        """Those that have been written to since."""
        return [path for path, before in self._before.items() if _modified(path, before)]


def _modified(path: Path, before: FileState) -> bool:
    try:
        now = of(path)
    except OSError:  # removed, and still mapped
        return False
    return now.inode == before.inode and now != before
