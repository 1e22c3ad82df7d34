"""A checkpoint that is whole or absent and digested, against a plain file with fsync, of the same bytes.

Each repetition starts without the files of the one before, and with nothing left for the disk to do: what removing and
writing back earlier files takes would otherwise fall on either side at random. `python -m benchmarks.checkpoint`.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from benchmarks.timing import Comparison, compare, show
from stages.store import files, partials

SIZES = ((256, 15), (1024, 9))  # MiB, repetitions


def run() -> list[Comparison]:
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:  # the disk that results go to, not a memory file system
        return [_compare(Path(name), os.urandom(size << 20), repetitions) for size, repetitions in SIZES]


def _compare(folder: Path, data: bytes, repetitions: int) -> Comparison:
    checkpoint, path = folder / "partial-000000001", folder / "weights"

    def digested() -> None:
        partials.save(checkpoint, lambda place: _write(place / "weights", data))

    def plain() -> None:
        with path.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def settle() -> None:
        files.remove_tree(checkpoint)
        path.unlink(missing_ok=True)
        os.sync()

    return compare("checkpoint", f"{len(data) >> 20} MiB to disk", digested, plain, repetitions, settle)


def _write(path: Path, data: bytes) -> None:
    files.write(path, data)  # as stages.train.checkpoint does


if __name__ == "__main__":
    show(run())
