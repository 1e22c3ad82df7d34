"""Columns that are dictionaries: read as plain ones, in time and memory that their dictionary does not multiply."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stages.data.files import pieces, records, tables
from stages.data.files.pieces import Input
from stages.data.files.table_dictionaries import Dictionaries

pa = pytest.importorskip("pyarrow", reason="tables are read by pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

TEXTS = [f"document {number} and more" for number in range(1000)]


def arrow(path: Path, column: Any) -> Path:
    table = pa.table({"text": column})
    with pa.OSFile(str(path), "wb") as out, pa.ipc.new_file(out, table.schema) as writer:
        writer.write_table(table)
    return path


def parquet(path: Path, column: Any) -> Path:
    pq.write_table(pa.table({"text": column}), path)
    return path


KINDS = {"a.arrow": arrow, "a.parquet": parquet}


def read(path: Path) -> list[Any]:
    file, shape = Input(path.name, path, path.stat().st_size), records.shape("text", {})
    method = tables.arrow if path.suffix == ".arrow" else tables.parquet
    return [row.raw for piece in pieces.cut([file]) for row in method(piece, shape)]


@pytest.mark.parametrize("name", KINDS)
def test_a_dictionary_is_validated_once_for_all_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    validated, longest = list[int](), Dictionaries._bytes
    monkeypatch.setattr(Dictionaries, "_bytes", lambda self, one: (validated.append(len(one)), longest(self, one))[1])
    rows = [*TEXTS, *reversed(TEXTS), None]
    path = KINDS[name](tmp_path / name, pa.array(rows).dictionary_encode())
    assert read(path) == [{"text": text} for text in rows]
    assert validated == [len(TEXTS)]


@pytest.mark.parametrize("name", KINDS)
def test_a_long_text_that_comes_often_is_not_in_memory_for_each_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Of a dictionary, a file of some hundred bytes makes any number of them."""
    monkeypatch.setattr(tables, "MEMORY", 10_000)
    alone, row = list[int](), tables._row
    monkeypatch.setattr(tables, "_row", lambda batch: (alone.append(batch.num_rows), row(batch))[1])
    path = KINDS[name](tmp_path / name, pa.array(["x" * 6000] * 200).dictionary_encode())
    assert len(read(path)) == 200
    assert alone == [1] * 200


def test_pages_of_a_dictionary_count_as_their_longest_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts, batches = list[int](), pq.ParquetFile.iter_batches
    monkeypatch.setattr(
        pq.ParquetFile, "iter_batches", lambda self, count, **how: counts.append(count) or batches(self, count, **how)
    )
    monkeypatch.setattr(tables, "MEMORY", 100_000)
    path = parquet(tmp_path / "a.parquet", pa.array(["y" * 20_000] * 100))  # which pyarrow writes as a dictionary
    assert len(read(path)) == 100
    assert counts == [4]


def test_bad_text_in_a_dictionary_is_a_bad_row(tmp_path: Path) -> None:
    words = pa.array([b"good", b"\xff"], pa.binary()).view(pa.string())
    column = pa.DictionaryArray.from_arrays(pa.array([0, 1, 0], pa.int32()), words, safe=False)
    good, bad, again = read(arrow(tmp_path / "a.arrow", column))
    assert good == again == {"text": "good"}
    assert bad == pieces.Broken("not UTF-8", "text in UTF-8")
