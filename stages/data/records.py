"""One row of a user's file to one document.

A row is {"text": "..."} or {"messages": [{"role": "user", "content": "..."}, ...]}; other keys of a row are ignored.
A document's identity is what it says: the same text has the same one in every format, so it is held out everywhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from stages.data.document import Document, conversation, held_out, plain
from stages.data.pieces import Broken

ROLES = ("system", "user", "assistant")
KEYS, OTHER = {"text": "text", "sft": "messages"}, {"text": "sft", "sft": "text"}
HINT = {"text": '{"text": "..."}', "sft": '{"messages": [{"role": "user", "content": "..."}, ...]}'}
HALF = re.compile("[\ud800-\udfff]")


class RowError(Exception):
    """What is wrong with a row, without its place, and what is allowed."""

    def __init__(self, why: str, allowed: str = "") -> None:
        super().__init__(why)
        self.why, self.allowed = why, allowed


def document(raw: bytes | str | Broken, kind: str) -> Document:
    """The document of a line of JSON or of a text; `kind` is text or sft. Raises RowError."""
    if isinstance(raw, Broken):
        raise RowError(raw.why, raw.allowed)
    if isinstance(raw, str):
        return _plain(raw)
    try:
        return _of_row(_parsed(raw), kind)
    except RowError as error:
        raise RowError(error.why, HINT[kind]) from None


def _of_row(row: dict[str, Any], kind: str) -> Document:
    key = KEYS[kind]
    if key not in row:
        other = f", as kind {OTHER[kind]} has it" if KEYS[OTHER[kind]] in row else ""
        raise RowError(f"the key {key!r} is missing (found: {', '.join(map(repr, row)) or 'none'}{other})")
    if kind == "text":
        return _plain(_string(row["text"], "text"))
    turns = list(_turns(row["messages"]))
    identity = json.dumps(row["messages"], sort_keys=True)
    return conversation(identity, [{"role": role, "content": said} for role, said in turns], held_out(identity))


def _plain(text: str) -> Document:
    identity = json.dumps(text)
    return plain(identity, text, held_out(identity))


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        row: Any = json.loads(line.decode())
    except UnicodeDecodeError:
        raise RowError("not UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise RowError(f"not JSON ({error})") from None
    if not isinstance(row, dict):
        raise RowError(f"found a {type(row).__name__} instead of an object")
    return row


def _turns(messages: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(messages, list) or not messages:
        raise RowError("messages is not a list of turns" if not isinstance(messages, list) else "messages is empty")
    for place, turn in enumerate(messages):
        name = f"messages[{place}]"
        if not isinstance(turn, dict) or set(turn) != {"role", "content"}:
            raise RowError(f"{name} does not have exactly the keys 'role' and 'content'")
        if turn["role"] not in ROLES:
            raise RowError(f"{name}.role: found {turn['role']!r}, known are {', '.join(ROLES)}")
        yield turn["role"], _string(turn["content"], f"{name}.content")
    if not any(turn["role"] == "assistant" for turn in messages):
        raise RowError("no turn is the assistant's, so there is nothing to learn")


def _string(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise RowError(f"{name} is a {type(value).__name__} instead of a string")
    if not value.strip():
        raise RowError(f"{name} is empty")
    if HALF.search(value):
        raise RowError(f"{name} holds half of a surrogate pair, which is no character")
    return value
