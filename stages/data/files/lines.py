"""Rows of files of text: lines of JSON, plain or compressed, paragraphs, whole files."""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from stages.data.files import pieces
from stages.data.files.arrow import pyarrow
from stages.data.files.pieces import Broken, Input, Piece, Row, Rows
from stages.errors import UserError
from stages.spec.schema.paths import GZIPPED

MARK = b"\xef\xbb\xbf"  # of byte order, which some editors and exporters put first: no text
LINE_END = re.compile(rb"\r\n|\n|\r")
BLOCK = 1 << 20
SIGNATURES = {
    "gzip": rb"\x1f\x8b",
    "zstandard": rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18",
    "xz": rb"\xfd7zXZ\0",
    "bzip2": rb"BZh[1-9](1AY&SY|\x17rE8P\x90)",
    "lz4": rb"\x04\x22\x4d\x18",
    "zip": rb"PK(\x03\x04|\x05\x06)",
    "Parquet": rb"PAR1[\x15\x00-\x08]",
    "Arrow": rb"ARROW1\0\0|\xff\xff\xff\xff",
    "UTF-32": rb"\xff\xfe\0\0|\0\0\xfe\xff",
    "UTF-16": rb"\xff\xfe|\xfe\xff",
}
SIGNATURE_BYTES = 12  # of a file, by which its format is recognised
UNPACKING = {
    "gzip": "Name it .jsonl.gz, or unpack it with `gunzip`",
    "zstandard": "Name it .jsonl.zst, or unpack it with `unzstd`",
    "Parquet": "Name it .parquet",
    "Arrow": "Name it .arrow",
    "UTF-32": "Write it in UTF-8: `iconv -f UTF-32 -t UTF-8 IN > OUT`",
    "UTF-16": "Write it in UTF-8: `iconv -f UTF-16 -t UTF-8 IN > OUT`",
}


def json_lines(piece: Piece) -> Rows:
    """Lines that begin in the piece, blank ones left out. Raises UserError for damaged compressed data, OSError."""
    with _opened(piece.file) as (file, raw):
        if piece.start:
            file.seek(piece.start - 1)
            while (rest := file.readline(pieces.LONGEST)) and not rest.endswith(b"\n"):
                pass
        else:
            head = file.peek(SIGNATURE_BYTES)
            refuse_no_text(piece.file.name, head, packed=raw is not file)
            if head.startswith(MARK):
                file.read(len(MARK))
        number, at, plain = 0, raw.tell(), raw is file
        start, end, most, readline = piece.start, piece.end, pieces.LONGEST, file.readline
        while not plain or at < end:
            line = readline(most + 1)
            if not line:
                return
            number += 1
            broken = _too_long(file, line) if len(line) > most else None
            at = at + len(line) if plain and broken is None else raw.tell()
            if broken is not None or not line.isspace():
                yield Row(number, broken or line, (at if at < end else end) - start)


def lines_before(piece: Piece, start: int = 0, before: int = 0) -> int:
    """Lines of the file that begin before the piece: for messages, since it reads the file up to there.

    Of them, `before` begin before the byte `start`, from which on it is read.
    """
    if not piece.start:
        return 0
    count, at = (before, start - 1) if start else (1, 0)
    with piece.file.path.open("rb") as file:
        file.seek(at)
        while at < piece.start - 1 and (block := file.read(min(piece.start - 1 - at, BLOCK))):
            count, at = count + block.count(b"\n"), at + len(block)
    return count


def whole(piece: Piece) -> Rows:
    """The file as one document."""
    with piece.file.path.open("rb") as file:
        refuse_no_text(piece.file.name, file.peek(SIGNATURE_BYTES), packed=False)
        data = file.read(pieces.LONGEST + 1).removeprefix(MARK)
    if len(data) > pieces.LONGEST:
        yield Row(1, Broken(f"a file of more than {pieces.LONGEST:,} bytes", "shorter ones, one document each"), 0)
    elif (found := _text(LINE_END.split(data))) is not None:
        yield Row(1 + found[0], found[1], piece.end)


def paragraphs(piece: Piece) -> Rows:
    """Stretches of lines that are not blank.

    Only LF, CRLF and CR end a line, and a blank line has spaces and tabs at most: form feeds, U+2028 and the like are
    part of the text. A stretch in which nothing can be seen is no document.
    """
    with piece.file.path.open("rb") as file:
        refuse_no_text(piece.file.name, file.peek(SIGNATURE_BYTES), packed=False)
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
                    if (raw := _paragraph(found, size)) is not None:
                        yield Row(raw[0] + first, raw[1], file.tell())
                    found, size = [], 0
            if line is None:
                return
            number += 1


@contextmanager
def _opened(file: Input) -> Iterator[tuple[io.BufferedReader, io.BufferedReader]]:
    """A file of lines, decompressed, and the file on the disk, whose place says how far it has been read."""
    with file.path.open("rb") as raw:
        if file.suffix == ".jsonl":
            yield raw, raw
            return
        try:
            if file.suffix in GZIPPED:
                yield io.BufferedReader(gzip.GzipFile(fileobj=raw)), raw
            else:
                yield io.BufferedReader(pyarrow(file.name).CompressedInputStream(raw, "zstd")), raw
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(f"{file.name}: damaged ({error}). Copy or compress it again.") from None


def _line(file: BinaryIO) -> bytes | Broken | None:
    """The next line; None at the end of the file."""
    line = file.readline(pieces.LONGEST + 1)
    return _too_long(file, line) if len(line) > pieces.LONGEST else line or None


def _too_long(file: BinaryIO, line: bytes) -> Broken:
    """In place of a line of which `line` is the beginning; the rest of it is passed over."""
    while line and not line.endswith(b"\n"):
        line = file.readline(pieces.LONGEST)
    return Broken(f"a line of more than {pieces.LONGEST:,} bytes", "shorter ones, one document each")


def _ends(line: bytes, first: bool) -> list[bytes]:
    """A line up to LF, cut at the CRs in it."""
    plain = line.removesuffix(b"\n").removesuffix(b"\r")
    return LINE_END.split(plain.removeprefix(MARK) if first else plain)


def _paragraph(found: list[bytes], size: int) -> tuple[int, str | Broken] | None:
    if size > pieces.LONGEST:
        allowed = "shorter ones, with blank lines between them"
        return 0, Broken(f"a paragraph of more than {pieces.LONGEST:,} bytes", allowed)
    return _text(found)


def _text(lines: list[bytes]) -> tuple[int, str | Broken] | None:
    """A document of these lines, or which of them is wrong; None where nothing can be seen."""
    text = []
    for number, line in enumerate(lines):
        try:
            text.append(line.decode())
        except UnicodeDecodeError:
            return number, Broken("not UTF-8", "text in UTF-8")
        if b"\0" in line:
            return number, Broken("a byte of zero, as UTF-16 without a byte order mark has", "text in UTF-8")
    return (0, "\n".join(text)) if any(line.strip() for line in text) else None


def refuse_no_text(name: str, head: bytes, packed: bool) -> None:
    """Raise UserError for a file whose first bytes, once it is unpacked, are of no text.

    It would be thousands of bad rows, which a corpus may leave out. `packed` says whether it was compressed.
    """
    kind = next((kind for kind, pattern in SIGNATURES.items() if re.match(pattern, head)), None)
    if kind is not None:
        what = f"what is in it begins as {kind} does" if packed else f"begins as {kind} does, and its name says text"
        repair = "Unpack it once more" if packed else UNPACKING.get(kind, "Unpack it")
        raise UserError(f"{name}: {what}. {repair}.")
