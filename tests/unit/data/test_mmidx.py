"""The indexed format: Megatron-Core's layout, byte by byte, and clear errors for files that are something else."""

from __future__ import annotations

import struct
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from stages.data.corpus import mmidx
from stages.errors import UserError


def write(folder: Path, documents: list[list[int]]) -> Path:
    lengths = np.array([len(document) for document in documents], dtype=np.int64)
    (folder / "x.bin").write_bytes(np.concatenate(documents).astype("<u2").tobytes())
    (folder / "x.idx").write_bytes(mmidx.index_bytes(lengths, np.dtype("<u2")))
    return folder / "x"


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    documents = [[1, 5, 2], [1, 2], [1, 65_535, 8, 9, 2]]
    indexed = mmidx.read(write(tmp_path, documents))
    assert [indexed.tokens[first:end].tolist() for first, end in pairwise(indexed.offsets[:])] == documents


def test_the_index_has_megatrons_layout(tmp_path: Path) -> None:
    raw = (write(tmp_path, [[7, 7, 7], [7, 7]]).with_suffix(".idx")).read_bytes()
    # Written down by hand from megatron/core/datasets/indexed_dataset.py, _IndexWriter: two sequences of 3 and 2
    # uint16 tokens (code 8), byte offsets 0 and 6, documents beginning at sequences 0 and 1, and the end.
    assert raw == (
        b"MMIDIDX\x00\x00" + struct.pack("<Q", 1) + struct.pack("<B", 8) + struct.pack("<Q", 2) + struct.pack("<Q", 3)
        + struct.pack("<2i", 3, 2) + struct.pack("<2q", 0, 6) + struct.pack("<3q", 0, 1, 2)
    )  # fmt: skip


def test_a_document_of_several_sequences_is_read_as_one(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(np.arange(5, dtype="<u2").tobytes())
    header = b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, 8, 3, 3)
    rest = struct.pack("<3i", 2, 1, 2) + struct.pack("<3q", 0, 4, 6) + struct.pack("<3q", 0, 2, 3)
    (tmp_path / "x.idx").write_bytes(header + rest)
    indexed = mmidx.read(tmp_path / "x")
    assert [indexed.tokens[first:end].tolist() for first, end in pairwise(indexed.offsets[:])] == [[0, 1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: b"PK" + raw[2:], "no MMIDIDX header"),
        (lambda raw: raw[:9] + struct.pack("<Q", 2) + raw[17:], "version 2"),
        (lambda raw: raw[:17] + b"\x63" + raw[18:], "data type 99"),
        (lambda raw: raw[:-3], "cut short"),
        (lambda raw: raw[:5], "no MMIDIDX header"),
    ],
)
def test_a_foreign_index_is_refused(tmp_path: Path, change: Callable[[bytes], bytes], message: str) -> None:
    path = write(tmp_path, [[1, 2], [3]]).with_suffix(".idx")
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UserError, match=message):
        mmidx.read(tmp_path / "x")


def test_missing_tokens_are_noticed(tmp_path: Path) -> None:
    path = write(tmp_path, [[1, 2], [3]]).with_suffix(".bin")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"x\.bin: 5 bytes, the index asks for 6"):
        mmidx.read(tmp_path / "x")
