"""Tables that were cut off between two batches, or joined with `cat`: rows would be left out without a word."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages.errors import UserError
from tests.unit.data.files_of_users import declare, read
from tests.unit.data.small import Small

pa = pytest.importorskip("pyarrow", reason="tables are read by pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
ipc = pytest.importorskip("pyarrow.ipc")


def table(word: str, rows: int = 6) -> Any:
    return pa.table({"text": [f"{word} {number}" for number in range(rows)], "n": list(range(rows))})


def parquet(path: Path, table: Any, **options: Any) -> bytes:
    pq.write_table(table, path, **options)
    return path.read_bytes()


def arrow(path: Path, table: Any) -> bytes:
    with pa.OSFile(str(path), "wb") as out, ipc.new_file(out, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return path.read_bytes()


def stream(path: Path, table: Any, legacy: bool = False) -> bytes:
    options = ipc.IpcWriteOptions(use_legacy_format=legacy)
    with pa.OSFile(str(path), "wb") as out, ipc.new_stream(out, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=2)
    return path.read_bytes()


WRITERS: dict[str, tuple[str, Callable[[Path, Any], bytes]]] = {
    "parquet": ("a.parquet", parquet),
    "parquet in groups": ("a.parquet", lambda path, table: parquet(path, table, row_group_size=2)),
    "parquet with an index": ("a.parquet", lambda path, table: parquet(path, table, write_page_index=True)),
    "arrow": ("a.arrow", arrow),
    "stream": ("a.arrow", stream),
    "stream of before 0.15": ("a.arrow", lambda path, table: stream(path, table, legacy=True)),
}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("more", [3, 6, 9])
def test_files_that_were_joined_are_refused(project: Small, writer: str, more: int) -> None:
    """Also where the second is as long as the first, or shorter: its offsets are then places in the first."""
    name, write = WRITERS[writer]
    path = project.root / name
    path.write_bytes(write(path, table("one")) + write(path, table("two", more)))
    declare(project, name)
    why = r"what follows byte [\d,]+ would not be read: files that were joined\."
    with pytest.raises(UserError, match=rf"^a\.\w+: {why if more <= 6 else f'({why}|damaged)'}"):
        read(project)


@pytest.mark.parametrize("writer", WRITERS)
def test_a_whole_file_is_read(project: Small, writer: str) -> None:
    name, write = WRITERS[writer]
    write(project.root / name, table("PAR1PAR1 ARROW1ARROW1", 50))
    declare(project, name)
    assert len(read(project)) == 50


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("rows", [0, 2, 4, 6])
def test_a_stream_that_ends_between_two_batches_is_cut_off(project: Small, rows: int, legacy: bool) -> None:
    path = project.root / "a.arrow"
    whole = stream(path, table("one"), legacy)
    with pa.memory_map(str(path)) as source:
        reader = ipc.open_stream(source)
        for _ in range(rows // 2):
            reader.read_next_batch()
        end = source.tell()
    path.write_bytes(whole[:end])
    declare(project, "a.arrow")
    with pytest.raises(UserError, match=rf"^a\.arrow: cut off behind byte {end:,}: the mark that ends a stream"):
        read(project)
