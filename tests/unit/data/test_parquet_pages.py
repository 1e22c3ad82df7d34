"""Pages of Parquet: their sizes are known before they are read, since each is in memory as a whole."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest

from stages.data.files import pieces, records, tables
from stages.data.files.parquet_pages import pages
from stages.data.files.pieces import Input
from stages.errors import UserError

pa = pytest.importorskip("pyarrow", reason="Parquet is read by pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

TEXTS = [f"word {number} " * (number % 40) + "é" for number in range(3000)]
TURNS = [[{"role": "user", "content": "x" * number}] * (number % 4) for number in range(300)] * 10
HUGE = b"\xfe" + b"\xff" * 8 + b"\x7f"  # as a varint, 2^70 - 2: a positive number
WRITERS: dict[str, dict[str, Any]] = {
    "as pyarrow does": {},
    "no dictionary": {"use_dictionary": False},
    "the second version of pages": {"data_page_version": "2.0"},
    "checksums and zstandard": {"compression": "zstd", "write_page_checksum": True},
    "many small pages, no compression": {"compression": "none", "data_page_size": 500, "write_batch_size": 8},
    "no statistics": {"write_statistics": False},
}


def written(path: Path, **how: Any) -> Input:
    pq.write_table(pa.table({"text": TEXTS, "messages": TURNS}), path, **how)
    return Input(path.name, path, path.stat().st_size)


def read(path: Path) -> list[Any]:
    file = Input(path.name, path, path.stat().st_size)
    return [row.raw for piece in pieces.cut([file]) for row in tables.parquet(piece, records.shape("text", {}))]


@pytest.mark.parametrize("name", WRITERS)
def test_sizes_and_values_of_pages_add_up_to_what_the_file_says_of_its_chunks(tmp_path: Path, name: str) -> None:
    file = written(tmp_path / "a.parquet", **WRITERS[name])
    metadata = pq.ParquetFile(file.path).metadata
    for column in map(metadata.row_group(0).column, range(3)):
        with file.path.open("rb") as raw:
            found = list(pages(raw, column))
        assert sum(page.values for page in found) == column.num_values
        headers = column.total_uncompressed_size - sum(page.size for page in found)
        assert 10 * len(found) <= headers <= 2500 * len(found), "with the least and the largest value"


def test_bytes_that_are_no_header_end_the_pages(tmp_path: Path) -> None:
    file = written(tmp_path / "a.parquet", use_dictionary=False, data_page_size=500, write_batch_size=8)
    column = pq.ParquetFile(file.path).metadata.row_group(0).column(0)
    for bad in (
        b"",
        b"\xff" * 100_000,
        b"\x15\x00" * 4,
        os.urandom(5000),
        b"\x1c" * 5000,
        b"\x15\x01\x15\x01\x15\x01\0",
        b"\x18" + HUGE,  # a text of 2^70 bytes
        b"\x15\x00\x15\x02\x15" + HUGE + b"\0",  # pages of as many
        b"\x15\x00\x15" + HUGE + b"\x15\x02\0",
        b"\x15\x00\x15\x02\x15\x02\x2c\x15" + HUGE + b"\0\0",  # values
    ):
        raw = bytearray(file.path.read_bytes())
        raw[column.data_page_offset :] = bad
        assert sum(page.values for page in pages(io.BytesIO(bytes(raw)), column)) < column.num_values


def test_a_page_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "PAGE", 100_000)
    long = [*TEXTS[:20], "y" * 200_000]
    pq.write_table(
        pa.table({"text": long, "other": ["z" * 300_000] * 21}), tmp_path / "a.parquet", use_dictionary=False
    )
    with pytest.raises(
        UserError, match=r"^a\.parquet: a page of 20\d,\d{3} bytes; allowed: 100,000, .*write_batch_size"
    ):
        read(tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": TEXTS[:21], "other": long}), tmp_path / "a.parquet", use_dictionary=False)
    assert len(read(tmp_path / "a.parquet")) == 21, "of a column that nobody reads"


def test_rows_are_read_in_batches_by_the_page_with_the_widest_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = list[int]()
    batches = pq.ParquetFile.iter_batches
    monkeypatch.setattr(
        pq.ParquetFile, "iter_batches", lambda self, count, **how: counts.append(count) or batches(self, count, **how)
    )
    narrow = written(tmp_path / "a.parquet")
    before = read(narrow.path)
    monkeypatch.setattr(tables, "MEMORY", 4000)
    wide = [*TEXTS, *["w" * 1000] * 50]
    pq.write_table(pa.table({"text": wide}), tmp_path / "b.parquet", use_dictionary=False, data_page_size=500,
                   write_batch_size=5)  # fmt: skip
    assert [row["text"] for row in read(tmp_path / "b.parquet")] == wide
    assert read(narrow.path) == before
    assert counts[0] == tables.BATCH
    assert counts[1] == 3
