"""Files that are mapped into memory, and whether a file was changed since it was opened, without reading it.

Reading a map beyond the end of its file ends the process (SIGBUS).
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from stages.errors import UserError

T = TypeVar("T")


def array(path: Path, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """A whole file, [n] of `dtype`, mapped into memory. Raises OSError."""
    return np.memmap(path, dtype, mode="r") if path.stat().st_size else np.zeros(0, dtype)  # none maps an empty file


class Mapped:
    """`array` is the whole file, [n] of `dtype`. The file's size is compared before each read."""

    def __init__(self, path: Path, dtype: npt.DTypeLike) -> None:
        """Raises OSError."""
        self.array = array(path, dtype)
        self._path, self._map = path, self.array.base

    def refuse_cut(self) -> None:
        """Raise UserError where the file is shorter than it was. One that is gone, or replaced, is still mapped."""
        if isinstance(self._map, mmap.mmap) and (left := self._map.size()) < len(self._map):
            raise UserError(
                f"{self._path}: was cut while it was read: {left:,} of {len(self._map):,} bytes are left. "
                "Put back what was there; the next run compares digests and goes on from the last checkpoint."
            )

    def reading(self, read: Callable[[int, int], T]) -> Callable[[int, int], T]:
        """`read`, which reads of the map, with `refuse_cut` before it."""

        def checked(first: int, last: int) -> T:
            self.refuse_cut()
            return read(first, last)

        return checked


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
