"""Whether a file was changed since it was opened, without reading it: its size, time of modification and inode."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, TypeVar

from stages.errors import UserError

T = TypeVar("T")


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
    """Files that are mapped into memory. A replaced one keeps its content for whoever has it mapped."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._before = {path: of(path) for path in paths if path.is_file()}

    def modified(self) -> list[Path]:
        """Those that have been written to since."""
        return [path for path, before in self._before.items() if _modified(path, before)]


class Mapped:
    """A file that is mapped into memory and read again and again.

    Reading a map beyond the end of its file ends the process (SIGBUS), so the size is compared before each read.
    """

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self._path, self._before = os.fspath(path), of(path)

    def refuse_cut(self) -> None:
        """Raise UserError where it is shorter than it was. One that is gone, or replaced, is still mapped."""
        try:
            now = os.stat(self._path)  # of a text, not a Path, which takes twice as long: every sample asks
        except OSError:
            return
        if now.st_size < self._before.size and now.st_ino == self._before.inode:
            raise UserError(
                f"{self._path}: was cut while it was read: {now.st_size:,} of {self._before.size:,} bytes are left. "
                "Put back what was there; the next run compares digests and goes on from the last checkpoint."
            )

    def reading(self, read: Callable[[int, int], T]) -> Callable[[int, int], T]:
        """`read`, which reads of the map, with `refuse_cut` before it."""

        def checked(first: int, last: int) -> T:
            self.refuse_cut()
            return read(first, last)

        return checked


def _modified(path: Path, before: FileState) -> bool:
    try:
        now = of(path)
    except OSError:  # removed, and still mapped
        return False
    return now.inode == before.inode and now != before
