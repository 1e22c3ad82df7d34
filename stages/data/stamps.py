"""Whether a file has been written to since it was opened, without reading it: its size, time of change and number."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple


class Stamp(NamedTuple):
    """What changes when a file is written to, or another one takes its place. `changed` is in nanoseconds."""

    size: int
    changed: int
    number: int


def of(path: Path) -> Stamp:
    """The stamp of a file. Raises OSError."""
    found = path.stat()
    return Stamp(found.st_size, found.st_mtime_ns, found.st_ino)


class Opened:
    """Files that are mapped. One that another took the place of stays as it was for those who mapped it."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._before = {path: of(path) for path in paths if path.is_file()}

    def written_to(self) -> list[Path]:
        """Those that have been written to since."""
        return [path for path, before in self._before.items() if _written_to(path, before)]


def _written_to(path: Path, before: Stamp) -> bool:
    try:
        now = of(path)
    except OSError:  # removed, and still mapped
        return False
    return now.number == before.number and now != before
