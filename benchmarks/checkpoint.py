"""A checkpoint that is whole or absent and digested, against a plain file with fsync, of the same bytes."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from benchmarks.timing import Comparison, compare
from stages.store import files, partials

SIZE = 128 << 20  # bytes


def run() -> list[Comparison]:
    data = os.urandom(SIZE)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:  # the disk that results go to, not a memory file system
        folder = Path(name)

        def digested() -> None:
            partials.save(folder / "partial-000000001", lambda place: _write(place / "weights", data))

        def plain() -> None:
            path = folder / "weights"
            with path.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())

        return [compare("checkpoint", f"{SIZE >> 20} MiB to disk", digested, plain, 7)]


def _write(path: Path, data: bytes) -> None:
    files.write(path, data)  # as stages.train.checkpoint does
