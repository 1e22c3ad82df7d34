"""The rows of a running attempt as they come, for people and trackers: `live.csv` in its folder.

metrics.csv grows with the checkpoints, flushed and hashed. This file grows every few seconds, without a flush; no run
reads it, and a disk that takes nothing ends only the file.
"""

from __future__ import annotations

import csv
import io
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from stages.store import attempts, files, json_file
from stages.store.disk import without_waiting
from stages.store.layout import Layout

NAME = "live.csv"
SECONDS = "seconds"  # of the step, the one column besides those of metrics.csv
LARGEST = 1 << 30  # bytes that are read
BLOCK = 1 << 22  # bytes that are read at once
TAIL = 1 << 15  # bytes of the last rows

Row = Mapping[str, str | int | float]


class Rows:
    """Grows an attempt's file by whole rows, which are kept until `flush`."""

    def __init__(self, attempt: Path) -> None:
        self.path = attempt / NAME
        self._columns: tuple[str, ...] = ()
        self._kept: list[list[str]] = []
        self._broken = False

    def add(self, columns: Sequence[str], row: Row, seconds: float) -> None:
        """Keep the row of a step under the columns of metrics.csv; those that it does not give stay empty."""
        if self._broken:
            return
        if not self._columns:
            self._columns = tuple(columns)
            self._kept.append([*self._columns, SECONDS])
        self._kept.append([*(text(row.get(name, "")) for name in self._columns), text(seconds)])

    def flush(self) -> None:
        """Bring the rows to the file. After an error nothing more is: a part of a row may be at its end."""
        if self._broken or not self._kept:
            return
        rows = io.StringIO()
        csv.writer(rows, lineterminator="\n").writerows(self._kept)
        self._kept.clear()
        try:
            handle = files.disk.append(self.path)
            try:
                files.write_all(handle, memoryview(rows.getvalue().encode()))
            finally:
                files.disk.close(handle)
        except OSError:
            self._broken = True


def text(value: str | int | float) -> str:
    """A value as its cell: the shortest text of the same number."""
    return repr(value) if isinstance(value, float) else str(value)


def read(attempt: Path) -> list[dict[str, str]]:
    """The whole rows of an attempt; none where there is no file, or one that no run wrote."""
    return _read(attempt / NAME)


def rows_of_result(folder: Path) -> list[dict[str, str]]:
    """The rows of a finished result's metrics.csv; none where it has none that can be read."""
    return _read(folder / "metrics.csv")


def _read(path: Path) -> list[dict[str, str]]:
    with suppress(json_file.JsonFileError, UnicodeDecodeError, csv.Error):
        return _rows(json_file.read_bytes(path, LARGEST).decode())
    return []


def tail(attempt: Path) -> list[dict[str, str]]:
    """The last rows of an attempt, at a cost that does not grow with its steps."""
    with suppress(OSError, UnicodeDecodeError, csv.Error), open(attempt / NAME, "rb", opener=without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return []
        head = file.readline(TAIL)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(len(head), size - TAIL))
        text = file.read(TAIL)
        whole = text if size - TAIL <= len(head) else text[text.find(b"\n") + 1 :]
        return _rows((head + whole).decode())
    return []


def _rows(text: str) -> list[dict[str, str]]:
    rows = csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1]))
    return [row for row in rows if None not in row and None not in row.values() and row.get("step", "").isdecimal()]


def steps(layout: Layout, key: str) -> list[dict[str, str]]:
    """The rows of all attempts under a key, by step: a newer attempt goes on behind a checkpoint of an older one."""
    found: dict[int, dict[str, str]] = {}
    for attempt in reversed(attempts.folders(layout, key)):
        rows = read(attempt)
        if rows:
            first = int(rows[0]["step"])
            found = {step: row for step, row in found.items() if step < first}
            found |= {int(row["step"]): row for row in rows}
    return [found[step] for step in sorted(found)]


class Reader:
    """The rows of all attempts under a key, as they come: each row once."""

    def __init__(self, layout: Layout, key: str) -> None:
        self._layout, self._key = layout, key
        self._at: dict[Path, int] = {}
        self._heads: dict[Path, str] = {}

    def new(self) -> Iterator[dict[str, str]]:
        """Whole rows that were not there before, older attempts first."""
        for attempt in reversed(attempts.folders(self._layout, self._key)):
            while text := self._more(attempt):
                if attempt not in self._heads:
                    self._heads[attempt], _, text = text.partition("\n")
                yield from _rows(f"{self._heads[attempt]}\n{text}")

    def _more(self, attempt: Path) -> str:
        """The next whole lines of an attempt's file, at most some megabytes; empty where there are none."""
        with suppress(OSError, UnicodeDecodeError), open(attempt / NAME, "rb", opener=without_waiting) as file:
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                file.seek(self._at.get(attempt, 0))
                data = file.read(BLOCK)
                whole = data[: data.rfind(b"\n") + 1]
                self._at[attempt] = self._at.get(attempt, 0) + len(whole)
                return whole.decode()
        return ""
