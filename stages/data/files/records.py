"""One row of a user's file to one document.

Or to several, where each answer of a conversation is one (`Shape.separate`).

Other keys of a row than those that its shape needs are ignored. A document's identity is what it says: the same text,
and the same conversation, has the same one in every format, so it is held out everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import Any, TypeVar

from stages.data import json_text, turns
from stages.data.document import Document, Part, conversation, held_out, plain
from stages.data.files import lines, other_kinds, table_nulls
from stages.data.files.other_kinds import OPTIONAL
from stages.data.files.pieces import LONGEST, Broken, Raw
from stages.data.tokens import chats, preference
from stages.data.tokens.chat import ASSISTANT
from stages.data.tokens.chats import Chat
from stages.data.turns import RowError
from stages.spec import wording
from stages.spec.builders import COLUMNS, PAIRED
from stages.store.json_file import RepeatedKeyError

T = TypeVar("T")
TEXT = "text"  # the shape whose rows are one text, and its column
DOTS = '"..."'
ARRAY = "; of a JSON array, write each element on a line of its own: `jq -c '.[]' IN > OUT.jsonl`"
MARKED = "; files that begin with one were joined: `sed 's/^\\xEF\\xBB\\xBF//' IN > OUT` takes it out"
UTF8 = "text in UTF-8; `iconv -f FROM -t UTF-8 IN > OUT` writes it"
SEVERAL_LINES = "; an object has one line: `jq -c .` writes objects so, `jq -c '.[]'` the elements of an array"
EXAMPLES = {
    "messages": '[{"role": "user", "content": "..."}, ...]',
    "conversations": '[{"from": "human", "value": "..."}, ...]',
}
_ENCODER = json.JSONEncoder()  # as json.dumps has it


@dataclass(frozen=True)
class Shape:
    """What the rows of a corpus look like: text or one of `chats`, and which columns have what it needs.

    With `separate`, each answer of a conversation is a document, with what is before it.
    """

    name: str
    columns: Mapping[str, str]
    separate: bool = False

    @property
    def paired(self) -> bool:
        """Whether a row has two answers to one prompt."""
        return self.name.startswith(PAIRED)

    @cached_property
    def needed(self) -> dict[str, str]:
        """What every row has, and the columns that have it."""
        return {key: name for key, name in self.columns.items() if key not in OPTIONAL}

    @property
    def hint(self) -> str:
        """A row of this shape, for messages."""
        examples = EXAMPLES
        if self.name == f"{PAIRED}messages":
            examples = dict.fromkeys(preference.SIDES, preference.TURNS)
        shown = (f'"{name}": {examples.get(key, DOTS)}' for key, name in self.needed.items())
        return f"{{{', '.join(shown)}}}"


def shape(name: str, columns: Mapping[str, str], separate: bool = False) -> Shape:
    """A shape with the columns that a spec names, and the usual names for the others."""
    return Shape(name, {key: columns.get(key, key) for key in COLUMNS[name]}, separate)


def document(raw: Raw, shape: Shape) -> Document:
    """The document of a row, a conversation as a whole. Raises RowError."""
    if shape.name == TEXT:
        return document_of_text(text(raw, shape))
    if shape.paired:
        name = shape.name.removeprefix(PAIRED)
        return _pair(_read(raw, shape, lambda row: preference.both(row, shape.columns, name, _of_row)))
    found = content(raw, shape)
    return _chat(found) if isinstance(found, Chat) else _continued(*found)


def documents(raw: Raw, shape: Shape) -> list[Document]:
    """All documents of a row, in order. Raises RowError."""
    if not shape.separate:
        return [document(raw, shape)]
    found = content(raw, shape)
    return _separate(found) if isinstance(found, Chat) else [_continued(*found)]


def text(raw: Raw, shape: Shape) -> str:
    """What a row of shape `text` says. Raises RowError."""
    if isinstance(raw, str):
        return raw
    name = shape.columns[TEXT]
    try:
        row = _row(raw, shape)
        found = turns.string(row[name], name)
        chats.refuse_lost_pictures(row, (found,))
        return found
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
    for key, name in shape.needed.items():
        if name not in row:
            raise RowError(_missing(row, key, name, shape.name))
    return row


def content(raw: Raw, shape: Shape) -> Chat | tuple[str, str]:
    """The conversation of a row, or a prompt and what follows it. Raises RowError."""
    return _read(raw, shape, lambda row: _of_row(row, shape.columns, shape.name))


def _read(raw: Raw, shape: Shape, of: Callable[[dict[str, Any]], T]) -> T:
    """What `of` makes of a row's columns. Raises RowError."""
    try:
        row = _row(raw, shape)
        if isinstance(raw, dict):  # of a table
            table_nulls.refuse(row, shape.columns)
        return of(row)
    except RowError as error:
        raise RowError(error.why, error.allowed or shape.hint) from None


def _pair(both: preference.Both) -> Document:
    """One document of both, known by both and held out by their prompt."""
    prompt = json.dumps({"prompt": both.prompt}, sort_keys=True)
    sides = [_chat(one) if isinstance(one, Chat) else _continued(*one) for one in (both.chosen, both.rejected)]
    part_of = [None if isinstance(one, Chat) and preference.answers(one) > 1 else prompt for one in both.each]
    chosen, rejected = (replace(side, part_of=of) for side, of in zip(sides, part_of, strict=True))
    identity = json.dumps({"chosen": chosen.identity, "rejected": rejected.identity}, sort_keys=True)
    return replace(chosen, identity=identity, part_of=prompt, heldout=held_out(prompt), rejected=rejected)


def _of_row(row: dict[str, Any], columns: Mapping[str, str], shape: str) -> Chat | tuple[str, str]:
    found = _of_shape(row, columns, shape)
    chats.refuse_lost_pictures(row, found)
    return found


def _of_shape(row: dict[str, Any], columns: Mapping[str, str], shape: str) -> Chat | tuple[str, str]:
    match shape:
        case "messages":
            return chats.messages(row, columns)
        case "sharegpt":
            return chats.sharegpt(row, columns)
        case "alpaca":
            return chats.alpaca(row, columns)
        case _:
            return chats.prompt_completion(row, columns)


def _missing(row: Mapping[str, Any], key: str, name: str, shape: str) -> str:
    found = ", ".join(map(repr, row)) or "none"
    return f"the key {name!r} is missing (found: {found}{other_kinds.hint(row, shape, key)})"


def _continued(prompt: str, completion: str) -> Document:
    identity = json.dumps([prompt, completion])
    return Document(identity, (Part(prompt, False), Part(completion, True)), held_out(identity))


def _chat(made: Chat, part_of: str | None = None) -> Document:
    tools = {"tools": made.tools} if made.tools else {}
    identified = [turn.without_ids for turn in made.turns]
    first = {"first": made.first} if made.first else {}
    identity = json.dumps({"messages": identified, **tools, **first} if tools or first else identified, sort_keys=True)
    messages = [turn.message for turn in made.turns]
    heldout = held_out(identity if part_of is None else part_of)
    return replace(conversation(identity, messages, heldout, made.tools, first=made.first), part_of=part_of)


def _separate(made: Chat) -> list[Document]:
    """Each learned answer with what is before it, as it prompts the model. Raises RowError for too much text:
    what is before is there once more for each answer.
    """
    ends = [place + 1 for place, turn in enumerate(made.turns) if turn.role == ASSISTANT and place >= made.first]
    sizes = list(accumulate(len(str(turn.without_ids)) for turn in made.turns))
    if (size := sum(sizes[end - 1] for end in ends)) > LONGEST:
        raise RowError(
            f"{len(ends)} answers, each with what stands before it, have {size:,} characters together",
            f"{LONGEST:,}: divide the conversation into shorter ones",
        )
    whole = _chat(made).identity
    return [_chat(Chat(made.turns[:end], made.tools, end - 1), whole) for end in ends]


def parsed(line: bytes) -> dict[str, Any]:
    """A line of JSON, which has to be an object, of which no object has a key twice. Raises RowError."""
    try:
        row = json_text.parsed(line.decode())
    except UnicodeDecodeError:
        raise RowError("not UTF-8", UTF8) from None
    except RepeatedKeyError as error:
        raise RowError(str(error)) from None
    except ValueError as error:
        more = SEVERAL_LINES if line.strip() in (b"[", b"{") else MARKED if line.startswith(lines.MARK) else ""
        raise RowError(f"not JSON ({wording.of_json(error)}){more}") from None
    except RecursionError:
        raise RowError("not JSON (nested too deep)") from None
    if not isinstance(row, dict):
        raise RowError(f"found {wording.of_kind(row)} instead of an object{ARRAY if isinstance(row, list) else ''}")
    return row
