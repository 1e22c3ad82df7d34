"""Sorting more rows than fit into memory: they go to files by the first byte of a hash, and one file is sorted at once.

Hashes are evenly spread, so a file has about 1/256 of the rows. Rows of one hash stay in the order they came in.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.store import files, trees

COUNT = 256
ROWS = 1 << 20  # that are in memory before they go to the disk


class Buckets:
    """Rows with a uint64 field `key`, in a folder that is emptied first. Raises WriteError."""

    def __init__(self, folder: Path, dtype: np.dtype[Any], key: str) -> None:
        self.folder, self.dtype, self.key = folder, dtype, key
        self._rows, self._count = list[NDArray[Any]](), 0
        trees.make_empty(folder)

    def add(self, rows: NDArray[Any]) -> None:
        """Take rows."""
        self._rows.append(rows)
        self._count += len(rows)
        if self._count >= ROWS:
            self.flush()

    def flush(self) -> None:
        """Put all rows on the disk: to be called after the last of them."""
        rows = np.concatenate([np.empty(0, dtype=self.dtype), *self._rows])
        buckets = (rows[self.key] >> np.uint64(56)).astype(np.int64)
        rows = rows[np.argsort(buckets, kind="stable")]
        ends = np.cumsum(np.bincount(buckets, minlength=COUNT)).tolist()
        for number, (first, last) in enumerate(zip([0, *ends], ends, strict=False)):
            if first < last:
                with files.failing(self.folder), (self.folder / str(number)).open("ab") as file:
                    file.write(rows[first:last].tobytes())
        self._rows, self._count = [], 0

    def sorted(self) -> Iterator[NDArray[Any]]:
        """The rows by their key, a bucket at a time."""
        for number in range(COUNT):
            path = self.folder / str(number)
            rows = np.fromfile(path, dtype=self.dtype) if path.exists() else np.empty(0, dtype=self.dtype)
            yield rows[np.argsort(rows[self.key], kind="stable")]
