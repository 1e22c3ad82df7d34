"""metrics.csv and timing.csv: what was computed, and how fast, in two files, because only the first is reproducible."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from stages.store import files
from stages.store.live import text

COMMON = ("phase", "step", "tokens", "clock", "lr", "loss", "grad_norm", "supervised")
# Of checksums.csv, next to a column for each tensor: rows that were read, and what follows a parameter's name.
ROWS, GRADIENT = "rows", ".gradient"
TIMING = ("phase", "step", "seconds", "tokens_per_second")

Value = str | int | float


class Table:
    """A CSV file that grows by whole rows, which are kept until `flush`. Raises WriteError when the disk refuses.

    Floats are written as `repr` does: the shortest text of the same number.

    With `before`, the table of an earlier attempt up to a checkpoint, its rows come first. They are laid out under
    this table's columns: a phase that is shared by two stages need not have the same neighbours in both.
    """

    def __init__(self, path: Path, columns: Sequence[str], before: Path | None) -> None:
        self.columns = tuple(columns)
        self._file, self._kept = files.Growing(path), [_line(self.columns)]
        if before is not None:
            with before.open(encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file):
                    self.add(dict(row))

    def add(self, row: Mapping[str, Value]) -> None:
        """Append a row; columns that it does not give stay empty."""
        self._kept.append(_line([text(row.get(column, "")) for column in self.columns]))

    def flush(self) -> None:
        """Bring all rows to the disk."""
        self._file.add("".join(self._kept).encode())
        self._kept.clear()

    @property
    def size(self) -> int:
        """Bytes that were brought to the disk."""
        return self._file.size

    def __enter__(self) -> Table:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with suppress(*((files.WriteError,) if kind else ())):  # the error that ended the run is shown, not this
            self.flush()


class Unwritten(Table):
    """The table of a rank that does not write."""

    def __init__(self) -> None:
        self.columns = ()

    def add(self, row: Mapping[str, Value]) -> None:
        """Leave it to the first rank."""

    def flush(self) -> None:
        """Nothing to bring anywhere."""


def _line(cells: Sequence[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()
