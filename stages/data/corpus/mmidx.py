"""Megatron-Core's indexed dataset: `<prefix>.bin` contains tokens, `<prefix>.idx` says where documents lie.

Layout of the index, little-endian (megatron/core/datasets/indexed_dataset.py, `_IndexWriter`): the nine bytes
b"MMIDIDX\\x00\\x00", uint64 version 1, uint8 data-type code, uint64 number of sequences, uint64 number of document
indices, int32 length per sequence (tokens), int64 offset per sequence (bytes), int64 document indices (first
sequence of each document, then the number of sequences). Here every document is one sequence.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stages.data.corpus.offsets import DocumentOffsets, of
from stages.data.mapped import Mapped
from stages.errors import UserError

MAGIC = b"MMIDIDX\x00\x00"
VERSION = 1
HEADER = struct.Struct("<9sQBQQ")
BLOCK = 1 << 20  # entries written at once
# Megatron-Core's DType codes; the corpora use the first two that fit a vocabulary.
DTYPES: dict[int, np.dtype[np.generic]] = {
    1: np.dtype("<u1"),
    2: np.dtype("<i1"),
    3: np.dtype("<i2"),
    4: np.dtype("<i4"),
    5: np.dtype("<i8"),
    8: np.dtype("<u2"),
}


@dataclass(frozen=True)
class Header:
    """What an index begins with: the type of tokens, the number of sequences and of document indices."""

    dtype: np.dtype[np.generic]
    sequences: int
    indices: int


@dataclass(frozen=True)
class Indexed:
    """A memory-mapped token file. `offsets` has one entry more than there are documents; unit: tokens."""

    data: Mapped
    offsets: DocumentOffsets

    @property
    def tokens(self) -> npt.NDArray[np.integer]:
        """All token ids, mapped."""
        return self.data.array


def index_bytes(lengths: npt.NDArray[np.int64], dtype: np.dtype[np.generic]) -> bytes:
    """The .idx file for documents of these lengths (tokens), one sequence per document."""
    return b"".join(index_blocks(lambda: iter((lengths,)), len(lengths), dtype))


def index_size(documents: int) -> int:
    """Bytes of the .idx file of so many documents."""
    return HEADER.size + 12 * documents + 8 * (documents + 1)


def index_blocks(
    lengths: Callable[[], Iterator[npt.NDArray[np.int64]]], count: int, dtype: np.dtype[np.generic]
) -> Iterator[memoryview]:
    """The same in blocks, for lengths that `lengths()` yields in blocks each time it is called, `count` in all."""
    yield memoryview(HEADER.pack(MAGIC, VERSION, code(dtype), count, count + 1))
    for block in lengths():
        yield memoryview(block.astype("<i4").tobytes())
    before = 0
    for block in lengths():
        sizes = block.astype("<i8") * dtype.itemsize
        yield memoryview((before + np.cumsum(sizes) - sizes).tobytes())
        before += int(sizes.sum())
    for first in range(0, count + 1, BLOCK):
        yield memoryview(np.arange(first, min(first + BLOCK, count + 1), dtype="<i8").tobytes())


def code(dtype: np.dtype[np.generic]) -> int:
    """Megatron-Core's code of a type."""
    return next(number for number, known in DTYPES.items() if known == dtype)


def read(prefix: Path) -> Indexed:
    """Open `<prefix>.bin` and `<prefix>.idx`. Raises UserError when they are missing, foreign or cut short."""
    index_path, data_path = prefix.with_suffix(".idx"), prefix.with_suffix(".bin")
    try:
        with index_path.open("rb") as file:
            raw, length = file.read(HEADER.size), index_path.stat().st_size
        size = data_path.stat().st_size
    except OSError as error:
        raise UserError(f"{error.filename}: {error.strerror}; `stages data NAME` prepares a corpus again") from None
    found = header(raw, length, str(index_path))
    index = Mapped(index_path, np.uint8)
    column = index.array[HEADER.size :]
    lengths, firsts = column[: 4 * found.sequences].view("<i4"), column[12 * found.sequences :].view("<i8")
    read_lengths = index.reading(lambda first, last: np.asarray(lengths[first:last], dtype=np.int64))
    offsets = of(found.sequences, read_lengths)
    if size != int(offsets[-1]) * found.dtype.itemsize:
        raise UserError(f"{data_path}: {size} bytes, the index asks for {int(offsets[-1]) * found.dtype.itemsize}")
    return Indexed(Mapped(data_path, found.dtype), offsets if _one_each(firsts, found) else offsets[np.asarray(firsts)])


def _one_each(firsts: npt.NDArray[np.int64], found: Header) -> bool:
    """Whether every document is one sequence, as in what is written here."""
    if found.indices != found.sequences + 1:
        return False
    blocks = ((at, firsts[at : at + BLOCK]) for at in range(0, found.indices, BLOCK))
    return all(np.array_equal(block, np.arange(at, at + len(block))) for at, block in blocks)


def header(raw: bytes, size: int, name: str) -> Header:
    """The header of an index of `size` bytes that begins with `raw`. Raises UserError for a file that is none."""
    if len(raw) < HEADER.size or not raw.startswith(MAGIC):
        raise UserError(f"{name}: not an indexed dataset (no MMIDIDX header)")
    _, version, kind, sequences, indices = HEADER.unpack_from(raw)
    if version != VERSION or kind not in DTYPES:
        raise UserError(f"{name}: version {version}, data type {kind}; allowed: version 1, types {sorted(DTYPES)}")
    wanted = HEADER.size + sequences * 12 + indices * 8
    if sequences and size == wanted + sequences:
        raise UserError(f"{name}: an index with modes, of a multimodal dataset; allowed: datasets of text")
    if size != wanted:
        raise UserError(f"{name}: {size} bytes do not hold {sequences} sequences; the file is cut short")
    return Header(DTYPES[kind], sequences, indices)
