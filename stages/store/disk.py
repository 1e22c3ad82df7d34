"""Every change that the store makes on a disk goes through one object, so that tests can make a disk fail or forget."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

# A pipe in a file's place is refused (ENXIO) and not waited for; to files, O_NONBLOCK means nothing. A link in a file's
# place is refused (ELOOP): what it leads to is somebody else's.
WRITE = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW


class Disk:
    """The operating system's own calls, one method each. `files.disk` is the one in use."""

    def create(self, path: Path, exclusive: bool = False) -> int:
        """Open a new or emptied file for writing; with `exclusive`, raise FileExistsError if it is there."""
        return os.open(path, WRITE | (os.O_EXCL if exclusive else os.O_TRUNC), 0o666)

    def append(self, path: Path) -> int:
        """Open a new or old file for writing at its end."""
        return os.open(path, WRITE | os.O_APPEND, 0o666)

    def write(self, handle: int, data: memoryview) -> int:
        """Write some of `data`; how many bytes."""
        return os.write(handle, data)

    def begin(self, handle: int, start: int, size: int) -> None:
        """Ask the system to begin writing these bytes back, so that the flush at the end finds little left to do.

        An advice, no change: Linux begins (posix_fadvise(2)) and keeps the bytes in memory until they are on the disk.
        """
        if hasattr(os, "posix_fadvise"):
            with suppress(OSError):
                os.posix_fadvise(handle, start, size, os.POSIX_FADV_DONTNEED)

    def open(self, path: Path) -> int:
        """Open a file or a folder in order to flush it."""
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)

    def fsync(self, handle: int) -> None:
        """Flush an open file or folder to the disk."""
        os.fsync(handle)

    def close(self, handle: int) -> None:
        """Close what was opened."""
        os.close(handle)

    def rename(self, source: Path, target: Path) -> None:
        """Rename; a file at `target` is replaced, a folder only if it is empty."""
        os.replace(source, target)

    def mkdir(self, path: Path) -> None:
        """Make one folder; raises FileExistsError if it is there."""
        os.mkdir(path)

    def unlink(self, path: Path) -> None:
        """Remove a file."""
        os.unlink(path)

    def rmdir(self, path: Path) -> None:
        """Remove an empty folder."""
        os.rmdir(path)


def without_waiting(path: str, flags: int) -> int:
    """For `open(..., opener=without_waiting)`: a pipe in a file's place is not waited for, as `open` itself would, and
    nothing is written through a link.
    """
    writes = flags & (os.O_WRONLY | os.O_RDWR)
    return os.open(path, flags | os.O_NONBLOCK | (os.O_NOFOLLOW if writes else 0), 0o666)
