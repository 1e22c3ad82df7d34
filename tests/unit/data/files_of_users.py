"""Files as users have them, in every format and shape, and a corpus of them in the small project."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages.data import spec
from stages.data.document import Document
from stages.data.files import user
from tests.unit.data.small import Small, write_spec

pa = pytest.importorskip("pyarrow", reason="Parquet, Arrow and zstandard are read by pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

TEXTS = [f"text number {number}\nwith a second line, \u00fc and \U0001f600" for number in range(6)]
CHATS = [
    [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": f"{number} + 1?"},
        {"role": "assistant", "content": f"{number + 1}"},
    ]
    for number in range(6)
]
NAMES = {"system": "system", "user": "human", "assistant": "gpt"}
SHAREGPT = [[{"from": NAMES[one["role"]], "value": one["content"]} for one in chat] for chat in CHATS]
ALPACA = [
    {"instruction": chat[1]["content"], "input": "", "output": chat[2]["content"], "system": "be brief"}
    for chat in CHATS
]

Write = Callable[[Path, list[dict[str, Any]]], object]


def lines(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_bytes(lines(rows))


def gz(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_bytes(gzip.compress(lines(rows[:3])) + gzip.compress(lines(rows[3:])))  # as `cat a.gz b.gz` makes


def zst(path: Path, rows: list[dict[str, Any]]) -> None:
    codec = pa.Codec("zstd")
    path.write_bytes(b"".join(codec.compress(lines(part), asbytes=True) for part in (rows[:3], rows[3:])))


def parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2)


def arrow_stream(path: Path, rows: list[dict[str, Any]]) -> None:
    table = pa.Table.from_pylist(rows)
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=4)


def arrow_file(path: Path, rows: list[dict[str, Any]]) -> None:
    table = pa.Table.from_pylist(rows)
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=4)


def saved(path: Path, rows: list[dict[str, Any]]) -> None:
    """As `datasets.Dataset.save_to_disk` writes it, with a cached file beside it."""
    path.mkdir()
    arrow_stream(path / "data-00000-of-00002.arrow", rows[:2])
    arrow_stream(path / "data-00001-of-00002.arrow", rows[2:])
    arrow_stream(path / "cache-0123456789abcdef.arrow", rows)
    names = [{"filename": f"data-0000{number}-of-00002.arrow"} for number in range(2)]
    (path / "state.json").write_text(json.dumps({"_data_files": names, "_format_type": None}))
    (path / "dataset_info.json").write_text("{}")


FORMATS: dict[str, Write] = {
    "a.jsonl": jsonl, "a.jsonl.gz": gz, "a.jsonl.zst": zst, "a.json.gz": gz, "a.jsonl.zstd": zst,
    "a.parquet": parquet, "a.arrow": arrow_stream,
    "b.arrow": arrow_file, "saved": saved,
}  # fmt: skip
SHAPES: dict[str, list[dict[str, Any]]] = {
    "messages": [{"messages": chat} for chat in CHATS],
    "sharegpt": [{"conversations": chat} for chat in SHAREGPT],
    "alpaca": ALPACA,
}


def declare(project: Small, path: object, kind: str = "text", **more: object) -> None:
    content = {"corpus": "mine", "kind": kind, "unit": "tokens", "builder": "file", "path": path}
    write_spec(project.root, "mine", {**content, **more})


def read(project: Small) -> list[Document]:
    return list(user.documents(project.root, spec.load(project.root, "mine", declared=False)))


def identities(project: Small) -> list[str]:
    return [document.identity for document in read(project)]


def alpaca(**changes: object) -> dict[str, object]:
    return {"instruction": "add", "input": "1, 1", "output": "2", **changes}


def turn(**keys: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}, keys]}


def call(**keys: object) -> dict[str, object]:
    return turn(role="assistant", tool_calls=[{"function": keys}])


def said(**keys: object) -> dict[str, object]:
    return {"conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": "!"}, keys]}
