"""metrics.csv and timing.csv: what was computed, and how fast, in two files, because only the first is reproducible."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from stages.errors import UserError
from stages.store import files
from stages.store.digest import Written
from stages.store.live import text

COMMON = ("phase", "step", "tokens", "clock", "lr", "loss", "grad_norm", "supervised")
# Of checksums.csv, next to a column for each tensor: rows that were read, and what follows a parameter's name.
ROWS, GRADIENT = "rows", ".gradient"
TIMING = ("phase", "step", "seconds", "tokens_per_second")

Value = str | int | float
DIGITS, SHOWN = 18, 20  # digits of a step's number; characters of what is none


class Table:
    """A CSV file that grows by whole rows, which are kept until `flush`. Raises WriteError when the disk refuses.

    Floats are written as `repr` does: the shortest text of the same number.

    With `before`, the table of an earlier attempt up to a checkpoint, its rows come first. They are laid out under
    this table's columns: a phase that is shared by two stages need not have the same neighbours in both. Raises
    UserError where they are no rows of steps.
    """

    def __init__(self, path: Path, columns: Sequence[str], before: Path | None) -> None:
        self.columns = tuple(columns)
        self._file, self._kept = files.Growing(path), [_line(self.columns)]
        if before is not None:
            for row in _rows(before):
                self.add(row)

    def add(self, row: Mapping[str, Value]) -> None:
        """Append a row; columns that it does not give stay empty."""
        self._kept.append(_line([text(row.get(column, "")) for column in self.columns]))

    def flush(self) -> None:
        """Bring all rows to the disk."""
        self._file.add("".join(self._kept).encode())
        self._kept.clear()

    @property
    def written(self) -> Written:
        """What was brought to the disk."""
        return self._file.written

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


def _rows(path: Path) -> Iterator[dict[str, str]]:
    """A checkpoint's rows: of every step where they name a phase; of checksums, which may leave steps out, in order."""
    last = 0
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        try:
            for row in reader:
                step = row.get("step") or ""
                number = int(step) if step.isascii() and step.isdecimal() and len(step) < DIGITS else 0
                if number <= last or ("phase" in row and number != last + 1):
                    raise _changed(path, reader.line_num, f"step {step[:SHOWN]!r} after step {last}")
                if None in row or None in row.values():
                    raise _changed(path, reader.line_num, "another number of cells than columns")
                last = number
                yield row
        except (csv.Error, UnicodeDecodeError) as error:
            raise _changed(path, reader.line_num, str(error)) from None


def _changed(path: Path, line: int, found: str) -> UserError:
    where = f"{path}:{line}" if line else path
    return UserError(
        f"{where}: found {found}; allowed: the table as its run wrote it. Move {path.parent} away, and the run "
        "goes on from the checkpoint before."
    )


def _line(cells: Sequence[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()
