"""The input cut into pieces that processes take one by one.

Pieces follow from the files alone, so any number of processes makes the same runs. Files that can be entered in the
middle are cut every `PIECE` bytes: a piece has the lines, or the row groups, that begin in it. Others are one piece.
Small files that follow one another are one piece together: a run for each would take longer to write than to encode.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from stages.spec.schema.paths import SUFFIXES

PIECE = 32 << 20  # bytes
LONGEST = 16 << 20  # bytes of one row: of text that cannot be cut, a tokenizer takes a hundred times that
CUT = (".jsonl", ".parquet")
FILE = 1 << 40  # more than the lines of a file: what rows of the next file of a piece are numbered from


@dataclass(frozen=True)
class Input:
    """A file that documents are read from: the name that messages use, where it is, its size in bytes."""

    name: str
    path: Path
    size: int

    @property
    def suffix(self) -> str:
        """What it is, by its name, whatever a link of that name leads to; empty for a file of no known kind."""
        return suffix(self.name)


@dataclass(frozen=True)
class Piece:
    """Bytes [start, end) of a file, and the whole of those of `more`, which come behind it."""

    file: Input
    start: int
    end: int
    more: tuple[Input, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return self.end - self.start + sum(one.size for one in self.more)

    def of_file(self, number: int) -> Piece:
        """The piece of one of its files, by number from 0."""
        if not number:
            return replace(self, more=())
        file = self.more[number - 1]
        return Piece(file, 0, file.size)


@dataclass(frozen=True)
class Broken:
    """In place of a row that cannot even be read: why, and what is allowed."""

    why: str
    allowed: str


Raw = bytes | str | dict[str, Any] | Broken
"""A line of JSON, a text, or the columns of a table's row."""


class Row(NamedTuple):
    """A raw row: its line (or row) in the piece, from 1, plus `FILE` for each file before its own; what was found; and
    how many bytes of the piece were read.
    """

    line: int
    raw: Raw
    read: int


Rows = Iterator[Row]


def suffix(name: str, kinds: Sequence[str] = SUFFIXES) -> str:
    """The suffix by which a file is read; empty where it has none of `kinds`."""
    return next((one for one in kinds if name.endswith(one)), "")


def cut(files: Sequence[Input]) -> list[Piece]:
    """The pieces of files, in order."""
    found = []
    for file in files:
        step = PIECE if file.suffix in CUT else max(1, file.size)
        found += [Piece(file, start, min(start + step, file.size)) for start in range(0, file.size, step)]
    return found


def together(cut: Sequence[Piece]) -> list[Piece]:
    """The same with files that are whole and follow one another in one piece, as long as they have `PIECE` bytes."""
    found, some, size = list[Piece](), list[Piece](), 0
    for one in cut:
        if some and not (_whole(one) and _whole(some[-1]) and size + one.end <= PIECE):
            found.append(_joined(some))
            some, size = [], 0
        some.append(one)
        size += one.end
    return [*found, _joined(some)] if some else found


def _whole(piece: Piece) -> bool:
    return piece.start == 0 and piece.end == piece.file.size


def _joined(some: Sequence[Piece]) -> Piece:
    """One piece of several, all but the first of which are a whole file."""
    return replace(some[0], more=tuple(one.file for one in some[1:]))
