"""One row of a user's file to one document.

Other keys of a row than those that its shape needs are ignored. A document's identity is what it says: the same text,
and the same conversation, has the same one in every format, so it is held out everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from stages.data import chats, json_text, table_nulls
from stages.data.chats import Chat, RowError
from stages.data.document import Document, Part, conversation, held_out, plain
from stages.data.pieces import Broken, Raw
from stages.spec import wording
from stages.spec.builders import COLUMNS

TEXT = "text"  # the shape whose rows are one text, and its column
OTHER = {"text": ("messages", "sft"), "messages": ("text", "text")}  # what a row of the other kind has
OPTIONAL = ("system", "history", "input", "tools")
DOTS = '"..."'
EXAMPLES = {
    "messages": '[{"role": "user", "content": "..."}, ...]',
    "conversations": '[{"from": "human", "value": "..."}, ...]',
}
_ENCODER = json.JSONEncoder()  # as json.dumps has it


@dataclass(frozen=True)
class Shape:
    """What the rows of a corpus look like: text or one of `chats`, and which columns have what it needs."""

    name: str
    columns: Mapping[str, str]

    @cached_property
    def needed(self) -> tuple[str, ...]:
        """Columns that every row has."""
        return tuple(name for key, name in self.columns.items() if key not in OPTIONAL)

    @property
    def hint(self) -> str:
        """A row of this shape, for messages."""
        shown = (f'"{name}": {EXAMPLES.get(key, DOTS)}' for key, name in self.columns.items() if key not in OPTIONAL)
        return f"{{{', '.join(shown)}}}"


def shape(name: str, columns: Mapping[str, str]) -> Shape:
    """A shape with the columns that a spec names, and the usual names for the others."""
    return Shape(name, {key: columns.get(key, key) for key in COLUMNS[name]})


def document(raw: Raw, shape: Shape) -> Document:
    """The document of a row. Raises RowError."""
    if shape.name == TEXT:
        return document_of_text(text(raw, shape))
    try:
        row = _row(raw, shape)
        if isinstance(raw, dict):  # of a table
            table_nulls.refuse(row, shape.columns)
        return _of_row(row, shape.columns, shape.name)
    except RowError as error:
        raise RowError(error.why, error.allowed or shape.hint) from None


def text(raw: Raw, shape: Shape) -> str:
    """What a row of shape `text` says. Raises RowError."""
    if isinstance(raw, str):
        return raw
    name = shape.columns[TEXT]
    try:
        return chats.string(_row(raw, shape)[name], name)
    except RowError as error:
        raise RowError(error.why, error.allowed or shape.hint) from None


def identity_of_text(text: str) -> str:
    """The identity of a document that is one text."""
    return _ENCODER.encode(text)


def document_of_text(text: str) -> Document:
    """A document that is one text."""
    identity = identity_of_text(text)
    return plain(identity, text, held_out(identity))


def _row(raw: Raw, shape: Shape) -> dict[str, Any]:
    """A row with all columns that its shape needs. Raises RowError."""
    if isinstance(raw, Broken):
        raise RowError(raw.why, raw.allowed)
    assert not isinstance(raw, str), "text has no columns"
    row = parsed(raw) if isinstance(raw, bytes) else raw
    for name in shape.needed:
        if name not in row:
            raise RowError(_missing(row, name))
    return row


def _of_row(row: dict[str, Any], columns: Mapping[str, str], shape: str) -> Document:
    match shape:
        case "messages":
            return _chat(chats.messages(row, columns))
        case "sharegpt":
            return _chat(chats.sharegpt(row, columns))
        case "alpaca":
            return _chat(chats.alpaca(row, columns))
        case _:
            made = chats.prompt_completion(row, columns)
            return _chat(made) if isinstance(made, Chat) else _continued(*made)


def _missing(row: Mapping[str, Any], name: str) -> str:
    other, kind = OTHER.get(name, ("", ""))
    said = f", as kind {kind} has it" if other and other in row else ""
    return f"the key {name!r} is missing (found: {', '.join(map(repr, row)) or 'none'}{said})"


def _continued(prompt: str, completion: str) -> Document:
    identity = json.dumps([prompt, completion])
    return Document(identity, (Part(prompt, False), Part(completion, True)), held_out(identity))


def _chat(made: Chat) -> Document:
    tools = {"tools": made.tools} if made.tools else {}
    said = [turn.without_ids for turn in made.turns]
    first = {"first": made.first} if made.first else {}
    identity = json.dumps({"messages": said, **tools, **first} if tools or first else said, sort_keys=True)
    messages = [turn.message for turn in made.turns]
    return conversation(identity, messages, held_out(identity), made.tools, first=made.first)


def parsed(line: bytes) -> dict[str, Any]:
    """A line of JSON, which has to be an object, of which no object has a key twice. Raises RowError."""
    try:
        row = json_text.parsed(line.decode())
    except UnicodeDecodeError:
        raise RowError("not UTF-8") from None
    except json_text.RepeatedKeyError as error:
        raise RowError(str(error)) from None
    except ValueError as error:
        raise RowError(f"not JSON ({wording.of_json(error)})") from None
    except RecursionError:
        raise RowError("not JSON (nested too deep)") from None
    if not isinstance(row, dict):
        raise RowError(f"found a {type(row).__name__} instead of an object")
    return row
