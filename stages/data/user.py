"""A user's own data: JSON Lines and plain text, into the same prepared form as the shipped corpora.

A row is {"text": "..."} or {"messages": [{"role": "user", "content": "..."}, ...]}. The first bad row stops the
preparation with its file, its line and what is wrong with it, and nothing is written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from stages.data import tokenizer as tokenizers
from stages.data.document import Document, chat, held_out, plain, text_part
from stages.data.encode import encode
from stages.data.prepare import in_order
from stages.data.prepared import DataManifest, content_digest, contents, read_manifest, write_folder
from stages.errors import UserError, Where
from stages.store.manifest import Shard

ROLES = ("system", "user", "assistant")
HINT = {"text": '{"text": "..."}', "sft": '{"messages": [{"role": "user", "content": "..."}, ...]}'}


class BadRowError(UserError):
    """A row of a user's file that cannot be used."""

    def __init__(self, path: Path, line: int, why: str, allowed: str) -> None:
        self.where = Where(str(path), line)
        super().__init__(f"{self.where}: {why}; allowed: {allowed}")


def prepare_user(path: Path, kind: Literal["text", "sft"], tokenizer: Path, out: Path) -> DataManifest:
    """Prepare a .jsonl file (one document per line) or any other file (one document of plain text) into `out`.

    `tokenizer` is the prepared tokenizer's folder. The held-out documents are drawn by the hash of their content.
    Raises BadRowError, or UserError when the file is missing or empty, and leaves `out` as it was.
    """
    documents = list(read(path, kind))
    if not documents:
        raise UserError(f"{path}: holds no document; allowed: at least one row like {HINT[kind]}")
    if all(document.heldout for document in documents):  # too few to spare any for evaluation
        documents = [replace(document, heldout=False) for document in documents]
    made, training = in_order(out.name, documents)
    encoded = encode(made, tokenizers.Tokenizer(tokenizer / tokenizers.FILE), None)
    size = int(encoded.lengths[:training].sum())

    def make(shards: list[Shard]) -> DataManifest:
        return DataManifest(
            schema_version=1, corpus=out.name, kind=kind, digest=content_digest(size, shards),
            tokenizer=read_manifest(tokenizer).digest, size=size, documents=training,
            longest=int(encoded.lengths.max()), heldout=len(made) - training,
            cell=0, patch=0, channels=0, shards=shards,
        )  # fmt: skip

    return write_folder(out, contents(encoded, kind), make)


def read(path: Path, kind: Literal["text", "sft"]) -> Iterator[Document]:
    """The documents of a user's file. Raises BadRowError naming the line."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    if path.suffix == ".jsonl":
        for number, line in enumerate(data.split(b"\n"), start=1):
            if line.strip():
                yield _row(path, number, line, kind)
    elif kind == "sft":
        raise UserError(f"{path}: plain text has no answers to supervise; allowed for sft: .jsonl of {HINT['sft']}")
    elif data.strip():
        before = data[: _first_invalid(data)]
        if len(before) < len(data):
            raise BadRowError(path, before.count(b"\n") + 1, "not UTF-8", "text in UTF-8")
        text = data.decode("utf-8")
        yield plain(text, text, held_out(text))


def _row(path: Path, number: int, line: bytes, kind: Literal["text", "sft"]) -> Document:
    def bad(why: str) -> BadRowError:
        return BadRowError(path, number, why, HINT[kind])

    if _first_invalid(line) < len(line):
        raise bad("not UTF-8")
    try:
        row: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise bad(f"not JSON ({error})") from None
    if not isinstance(row, dict):
        raise bad(f"found a {type(row).__name__} instead of an object")
    key = "text" if kind == "text" else "messages"
    if key not in row:
        raise bad(f"the key {key!r} is missing (found: {', '.join(map(repr, row)) or 'none'})")
    identity = json.dumps(row[key], sort_keys=True)
    if kind == "text":
        return plain(identity, _string(row["text"], "text", bad), held_out(identity))
    return chat(identity, [(role, text_part(said)) for role, said in _turns(row["messages"], bad)], held_out(identity))


def _turns(messages: Any, bad: Callable[[str], BadRowError]) -> Iterator[tuple[str, str]]:
    if not isinstance(messages, list) or not messages:
        raise bad("messages is not a list of turns" if not isinstance(messages, list) else "messages is empty")
    for place, turn in enumerate(messages):
        name = f"messages[{place}]"
        if not isinstance(turn, dict) or set(turn) != {"role", "content"}:
            raise bad(f"{name} does not have exactly the keys 'role' and 'content'")
        if turn["role"] not in ROLES:
            raise bad(f"{name}.role: found {turn['role']!r}, known are {', '.join(ROLES)}")
        yield turn["role"], _string(turn["content"], f"{name}.content", bad)
    if not any(turn["role"] == "assistant" for turn in messages):
        raise bad("no turn is the assistant's, so there is nothing to learn")


def _string(value: Any, name: str, bad: Callable[[str], BadRowError]) -> str:
    if not isinstance(value, str):
        raise bad(f"{name} is a {type(value).__name__} instead of a string")
    if not value.strip():
        raise bad(f"{name} is empty")
    if _is_surrogate(value):
        raise bad(f"{name} holds half of a surrogate pair, which is no character")
    return value


def _is_surrogate(text: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in text)


def _first_invalid(data: bytes) -> int:
    """Where UTF-8 breaks, or the length of the data."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start
    return len(data)
