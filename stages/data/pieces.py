"""The input cut into pieces that processes take one by one, and the raw rows of a piece.

Pieces follow from the files alone, so any number of processes makes the same runs. A file of lines is cut every
`PIECE` bytes: a piece has the lines that begin in it. Other files are one piece.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from stages.errors import UserError

PIECE = 32 << 20  # bytes
LONGEST = 16 << 20  # bytes of one row: a tokenizer takes up to forty times that
LINE_END = re.compile(rb"\r\n|\n|\r")


@dataclass(frozen=True)
class Input:
    """A file that documents are read from: the name that messages use, where it is, its size in bytes."""

    name: str
    path: Path
    size: int


@dataclass(frozen=True)
class Piece:
    """Bytes [start, end) of a file."""

    file: Input
    start: int
    end: int


@dataclass(frozen=True)
class Broken:
    """In place of a row that cannot even be read: why, and what is allowed."""

    why: str
    allowed: str


@dataclass(frozen=True)
class Row:
    """A raw row: its line in the piece, from 1; what was found; and how many bytes of the piece have been read."""

    line: int
    raw: bytes | str | Broken
    read: int


def cut(files: Sequence[Input]) -> list[Piece]:
    """The pieces of files, in order."""
    found = []
    for file in files:
        step = PIECE if file.path.suffix == ".jsonl" else max(1, file.size)
        found += [Piece(file, start, min(start + step, file.size)) for start in range(0, file.size, step)]
    return found


def rows(piece: Piece) -> Iterator[Row]:
    """The rows of a piece. Raises UserError where the file cannot be read."""
    try:
        with piece.file.path.open("rb") as file:
            yield from _lines(piece, file) if piece.file.path.suffix == ".jsonl" else _paragraphs(piece, file)
    except OSError as error:
        raise UserError(f"{piece.file.name}: {error.strerror}") from None


def lines_before(piece: Piece) -> int:
    """Lines of the file that begin before the piece: for messages, since it reads the file up to there."""
    if not piece.start:
        return 0
    count, left = 1, piece.start - 1
    with piece.file.path.open("rb") as file:
        while left > 0 and (block := file.read(min(left, 1 << 20))):
            count, left = count + block.count(b"\n"), left - len(block)
    return count


def _lines(piece: Piece, file: BinaryIO) -> Iterator[Row]:
    """Lines that begin in the piece, blank ones left out."""
    if piece.start:
        file.seek(piece.start - 1)
        while (rest := file.readline(LONGEST)) and not rest.endswith(b"\n"):
            pass
    number = 0
    while file.tell() < piece.end and (line := _line(file)) is not None:
        number += 1
        if isinstance(line, Broken) or line.strip():
            yield Row(number, line, min(file.tell(), piece.end) - piece.start)


def _line(file: BinaryIO) -> bytes | Broken | None:
    """The next line; None at the end of the file."""
    line = file.readline(LONGEST + 1)
    if len(line) <= LONGEST:
        return line or None
    while line and not line.endswith(b"\n"):
        line = file.readline(LONGEST)
    return Broken(f"a line of more than {LONGEST:,} bytes", "shorter ones, one document each")


def _paragraphs(piece: Piece, file: BinaryIO) -> Iterator[Row]:
    """Stretches of lines that are not blank.

    Only LF, CRLF and CR end a line, and a blank line holds spaces and tabs at most: form feeds, U+2028 and the like are
    part of the text. A stretch in which nothing can be seen is no document.
    """
    found: list[bytes] = []
    first = number = size = 0
    while True:
        line = _line(file)
        if isinstance(line, Broken):
            yield Row(number + 1, line, file.tell())
            number, found, size = number + 1, [], 0
            continue
        for part in [b""] if line is None else _ends(line, first=number == 0):
            if part.strip(b" \t"):
                first = first if found else number + 1
                found.append(part)
                size += len(part)
            elif found:
                if (raw := _text(found, size)) is not None:
                    yield Row(raw[0] + first, raw[1], file.tell())
                found, size = [], 0
        if line is None:
            return
        number += 1


def _ends(line: bytes, first: bool) -> list[bytes]:
    """A line up to LF, cut at the CRs in it; the mark that some editors put first is no text."""
    plain = line.removesuffix(b"\n").removesuffix(b"\r")
    return LINE_END.split(plain.removeprefix(b"\xef\xbb\xbf") if first else plain)


def _text(found: list[bytes], size: int) -> tuple[int, str | Broken] | None:
    """A document of these lines, and at which of them it stands; None where nothing can be seen."""
    if size > LONGEST:
        return 0, Broken(f"a paragraph of more than {LONGEST:,} bytes", "shorter ones, with blank lines between them")
    text = []
    for number, line in enumerate(found):
        try:
            text.append(line.decode())
        except UnicodeDecodeError:
            return number, Broken("not UTF-8", "text in UTF-8")
    return (0, "\n".join(text)) if any(line.strip() for line in text) else None
