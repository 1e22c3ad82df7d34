"""A disk that is watched: what it is asked, in which order, and that all it opens is closed."""

from __future__ import annotations

from pathlib import Path

from stages.store.disk import Disk


class Watched(Disk):
    """A disk that notes what it is asked, and takes at most `most` bytes at once."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.open_files: dict[int, Path] = {}
        self.most = 1 << 30

    def create(self, path: Path, exclusive: bool = False) -> int:
        return self._opened("create", path, super().create(path, exclusive))

    def append(self, path: Path) -> int:
        return self._opened("append", path, super().append(path))

    def open(self, path: Path) -> int:
        return self._opened("open", path, super().open(path))

    def _opened(self, what: str, path: Path, handle: int) -> int:
        self.asked.append((what, path.name))
        self.open_files[handle] = path
        return handle

    def write(self, handle: int, data: memoryview) -> int:
        return super().write(handle, data[: self.most])

    def fsync(self, handle: int) -> None:
        self.asked.append(("fsync", self.open_files[handle].name))
        super().fsync(handle)

    def close(self, handle: int) -> None:
        del self.open_files[handle]
        super().close(handle)

    def rename(self, source: Path, target: Path) -> None:
        self.asked.append(("rename", target.name))
        super().rename(source, target)

    def mkdir(self, path: Path) -> None:
        self.asked.append(("mkdir", path.name))
        super().mkdir(path)

    def flushed(self) -> list[str]:
        return [name for what, name in self.asked if what == "fsync"]
