"""Sizes of the pages of a Parquet file, from their headers: a reader takes a whole page into memory, however large.

pyarrow does not expose them. A header is a struct of Thrift's compact protocol before each page (parquet-format,
src/main/thrift/parquet.thrift, PageHeader: 2 uncompressed_page_size, 3 compressed_page_size, 5 data_page_header and 8
data_page_header_v2, whose field 1 is num_values). Everything else in it is skipped. What is no header is left to
pyarrow, which names damage.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

UNCOMPRESSED, COMPRESSED, DATA, DATA_V2, VALUES = 2, 3, 5, 8, 1
# Types of the compact protocol.
TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)
MAX_DEPTH = 16  # structs within structs; Parquet's have four
VARINT_BYTES = 10  # of 64 bits
MAX_LENGTH = (1 << 31) - 1  # sizes, counts and lengths of binaries are int32


@dataclass(frozen=True)
class Page:
    """`size`: bytes when it is decompressed; `values`: how many are in it, 0 for a dictionary."""

    size: int
    values: int


class _NoHeaderError(Exception):
    """The bytes are no page header."""


def pages(file: BinaryIO, chunk: Any) -> Iterator[Page]:
    """The pages of a column chunk (pyarrow's ColumnChunkMetaData) in order, up to the first that has no header.

    Raises OSError where the disk refuses, or the chunk begins outside the file.
    """
    first = chunk.data_page_offset if chunk.dictionary_page_offset is None else chunk.dictionary_page_offset
    file.seek(first)
    while file.tell() < first + chunk.total_compressed_size:
        try:
            page, length = _page(file)
        except _NoHeaderError:
            return
        yield page
        file.seek(length, 1)


def _page(file: BinaryIO) -> tuple[Page, int]:
    """The page whose header begins here, and how many bytes it takes in the file, without its header."""
    sizes, values = {UNCOMPRESSED: -1, COMPRESSED: -1}, 0
    for field, kind in _fields(file):
        if field in sizes and kind == I32:
            sizes[field] = _integer(file)
        elif field in (DATA, DATA_V2) and kind == STRUCT:
            for inner, kind_inside in _fields(file):
                if inner == VALUES and kind_inside == I32:
                    values = _integer(file)
                else:
                    _skip(file, kind_inside, MAX_DEPTH)
        else:
            _skip(file, kind, MAX_DEPTH)
    if not all(0 <= number <= MAX_LENGTH for number in (*sizes.values(), values)):
        raise _NoHeaderError
    return Page(sizes[UNCOMPRESSED], values), sizes[COMPRESSED]


def _fields(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Number and type of the fields of a struct; the caller reads, or skips, each value before it asks for the next."""
    number = 0
    while head := _byte(file):
        delta, kind = head >> 4, head & 15
        number = number + delta if delta else _integer(file)
        yield number, kind


def _skip(file: BinaryIO, kind: int, depth: int) -> None:
    """Skip a value of a type; `depth` is how many structs it may have within one another."""
    if not depth:
        raise _NoHeaderError
    if kind in (I16, I32, I64):
        _varint(file)
    elif kind == BYTE:
        _byte(file)
    elif kind == DOUBLE:
        file.seek(8, 1)
    elif kind == BINARY:
        if (length := _varint(file)) > MAX_LENGTH:
            raise _NoHeaderError
        file.seek(length, 1)
    elif kind == STRUCT:
        for _, inside in _fields(file):
            _skip(file, inside, depth - 1)
    elif kind not in (TRUE, FALSE):  # lists are in no header
        raise _NoHeaderError


def _integer(file: BinaryIO) -> int:
    """A signed number: zigzag, so that small negative ones are short."""
    value = _varint(file)
    return (value >> 1) ^ -(value & 1)


def _varint(file: BinaryIO) -> int:
    """An unsigned number, 7 bits a byte, the lowest first; all bytes but the last have their top bit set."""
    value = 0
    for place in range(VARINT_BYTES):
        byte = _byte(file)
        value |= (byte & 127) << (7 * place)
        if byte < 128:
            return value
    raise _NoHeaderError


def _byte(file: BinaryIO) -> int:
    if not (read := file.read(1)):
        raise _NoHeaderError
    return read[0]
