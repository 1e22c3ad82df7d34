"""Disks that fail or die, to stand in for `files.disk`; those that forget are in `recorder`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stages.store import files
from stages.store.disk import Disk


class PowerCutError(BaseException):
    """The process is gone: nothing may catch this."""


class Failing(Disk):
    """Raises an error at the n-th change, and at every later one if `lasting`; `code` None means that power is cut."""

    def __init__(self, at: int, code: int | None, lasting: bool, after: bool = False, short: bool = False) -> None:
        self.count, self.at, self.code, self.lasting, self.after, self.short = 0, at, code, lasting, after, short

    def _due(self) -> bool:
        return self.count == self.at or (self.lasting and self.count > self.at)

    def _raise(self) -> None:
        if self.code is None:
            raise PowerCutError
        raise OSError(self.code, os.strerror(self.code))

    def _step(self, call: Callable[..., Any], *arguments: Any) -> Any:
        self.count += 1
        if self._due() and not (self.after and self.count == self.at):
            self._raise()
        result = call(*arguments)
        if self._due():
            self._raise()
        return result

    def create(self, path: Path, exclusive: bool = False) -> int:
        return self._step(super().create, path, exclusive)

    def append(self, path: Path) -> int:
        return self._step(super().append, path)

    def write(self, handle: int, data: memoryview) -> int:
        return self._step(super().write, handle, data[:1] if self.short else data)

    def fsync(self, handle: int) -> None:
        self._step(super().fsync, handle)

    def rename(self, source: Path, target: Path) -> None:
        self._step(super().rename, source, target)

    def mkdir(self, path: Path) -> None:
        self._step(super().mkdir, path)

    def unlink(self, path: Path) -> None:
        self._step(super().unlink, path)

    def rmdir(self, path: Path) -> None:
        self._step(super().rmdir, path)


@contextmanager
def using(disk: Disk) -> Iterator[None]:
    """Everything that is written within the block goes through `disk`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "disk", disk)
        yield
