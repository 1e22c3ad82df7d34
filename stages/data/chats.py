"""Conversations as users have them, to turns: OpenAI's messages, ShareGPT, Alpaca, prompt and completion.

Each shape comes to the same turns, so the same conversation is the same document in all of them.

- messages: a list of {"role": ..., "content": ...}. Content is a string or a list of parts
  {"type": "text", "text": ...}, and of pictures where a corpus has any (`parts`); an assistant's turn may have
  `tool_calls`, and then no content; one of a tool may have `name` and `tool_call_id`.
- sharegpt: a list of {"from": "human" | "gpt" | ..., "value": ...}, as ShareGPT exports have it.
- alpaca: instruction, input (may be empty) and output, and `system` and `history` where there are any.
- prompt_completion: two strings, which get no turns: the completion follows the prompt and alone is learned. Or two
  lists of messages, of which the second is learned.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stages.data import json_text

ROLES = ("system", "user", "assistant", "tool")
SHAREGPT = {
    "system": "system", "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant",
    "function_call": "assistant", "observation": "tool", "tool": "tool",
}  # fmt: skip
Part = dict[str, str]
"""Of a content with pictures, as chat templates take it: {"type": "text", "text": ...} or {"type": "image"}."""
LONGEST_WHY = 500  # characters: manifests list up to 10,000 of them, and rows have keys of any length
MOST_PICTURES = 256  # of one row, each of which is decoded
PICTURE = '{"type": "image", "image": "FILE"} or {"type": "image_url", "image_url": {"url": "FILE"}}'
HALF = re.compile("[\ud800-\udfff]")
TURN_KEYS = {"role", "content", "tool_calls", "name", "tool_call_id"}
UNLEARNED = ("weight", "loss", "train", "mask")  # keys by which other trainers leave a turn out of the loss


class RowError(Exception):
    """What is wrong with a row, without its place, and what is allowed."""

    def __init__(self, why: str, allowed: str = "") -> None:
        why = why if len(why) <= LONGEST_WHY else f"{why[:LONGEST_WHY]}..."
        super().__init__(why)
        self.why, self.allowed = why, allowed


@dataclass(frozen=True)
class Turn:
    """Who said what. `calls` are the tool calls of an assistant: {"name": ..., "arguments": {...}} each.

    `ids` are those of the calls, None where a call has none: drawn by whoever answered, and no part of what is said.
    """

    role: str
    content: str | list[Part]
    calls: tuple[dict[str, Any], ...] = ()
    more: Mapping[str, str] = field(default_factory=dict)  # name, tool_call_id
    ids: tuple[str | None, ...] = ()

    @property
    def message(self) -> dict[str, Any]:
        """The turn as a chat template is given it, whatever shape it had."""
        ids = self.ids or (None,) * len(self.calls)
        return self._with([{} if one is None else {"id": one} for one in ids])

    @property
    def without_ids(self) -> dict[str, Any]:
        """The turn without ids of calls: what the identity of a conversation follows from."""
        return self._with([{}] * len(self.calls))

    def _with(self, beside: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        calls = [{"type": "function", **more, "function": call} for more, call in zip(beside, self.calls, strict=True)]
        return {"role": self.role, "content": self.content, **({"tool_calls": calls} if calls else {}), **self.more}


@dataclass(frozen=True)
class Chat:
    """A conversation: answers from turn `first` on are learned; `tools` are the schemas of what may be called."""

    turns: list[Turn]
    tools: list[Any] | None = None
    first: int = 0


def messages(row: Mapping[str, Any], columns: Mapping[str, str], pictures: list[str] | None = None) -> Chat:
    """OpenAI's messages; the names of their pictures are added to `pictures`, which is None where none is allowed."""
    turns = _messages(row[columns["messages"]], columns["messages"], pictures)
    return Chat(_answered(turns), _tools(row, columns))


def interleaved(row: Mapping[str, Any], columns: Mapping[str, str], pictures: list[str]) -> list[Part]:
    """Texts and pictures in any order: a list of parts, as of a message."""
    name = columns["content"]
    found = parts(_list(row[name], name), name, pictures)
    if not any("text" in part for part in found):
        raise RowError(f"{name} has no text, so there is nothing to learn")
    return found


def parts(value: Sequence[Any], name: str, pictures: list[str] | None) -> list[Part]:
    """Parts of a content, texts that follow one another joined; `pictures` as of `messages`. Raises RowError."""
    found: list[Part] = []
    for place, part in enumerate(value):
        one = _part(part, f"{name}[{place}]", pictures)
        if "text" in one and found and "text" in found[-1]:
            one = {"type": "text", "text": found.pop()["text"] + one["text"]}
        found.append(one)
    return found


def sharegpt(row: Mapping[str, Any], columns: Mapping[str, str]) -> Chat:
    """ShareGPT's conversations."""
    name = columns["conversations"]
    turns = [_sharegpt_turn(turn, f"{name}[{place}]") for place, turn in enumerate(_list(row[name], name))]
    return Chat(_answered(_system(row, columns) + turns), _tools(row, columns))


def alpaca(row: Mapping[str, Any], columns: Mapping[str, str]) -> Chat:
    """An instruction with its input below it, and its output."""
    turns = _system(row, columns)
    for place, pair in enumerate(_optional_list(row.get(columns["history"]), columns["history"])):
        name = f"{columns['history']}[{place}]"
        if not isinstance(pair, list) or len(pair) != 2:
            raise RowError(f"{name} is not a question and its answer")
        turns += (Turn("user", string(pair[0], f"{name}[0]")), Turn("assistant", string(pair[1], f"{name}[1]")))
    ask = string(row[columns["instruction"]], columns["instruction"])
    if (more := row.get(columns["input"])) not in (None, ""):
        ask = f"{ask}\n{string(more, columns['input'])}"
    answer = Turn("assistant", string(row[columns["output"]], columns["output"]))
    return Chat([*turns, Turn("user", ask), answer])


def prompt_completion(row: Mapping[str, Any], columns: Mapping[str, str]) -> tuple[str, str] | Chat:
    """A prompt and what follows it: two strings, or two lists of messages."""
    prompt, completion = columns["prompt"], columns["completion"]
    if isinstance(row[prompt], str):
        return string(row[prompt], prompt), string(row[completion], completion)
    before = _messages(row[prompt], prompt)
    return Chat([*before, *_answered(_messages(row[completion], completion))], _tools(row, columns), len(before))


def string(value: Any, name: str) -> str:
    """A value that has to be text. Raises RowError."""
    if not isinstance(value, str):
        raise RowError(f"{name} is a {type(value).__name__} instead of a string")
    if not value or value.isspace():
        raise RowError(f"{name} is empty")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise RowError(f"{name} has half of a surrogate pair, which is no character") from None
    return value


def _messages(value: Any, name: str, pictures: list[str] | None = None) -> list[Turn]:
    turns = [_turn(turn, f"{name}[{place}]", pictures) for place, turn in enumerate(_list(value, name))]
    _refuse_unasked(turns, name)
    return turns


def _refuse_unasked(turns: Sequence[Turn], name: str) -> None:
    """Raise RowError for a tool's result whose id none of the calls before it has, where these have ids."""
    known: list[str] = []
    for place, turn in enumerate(turns):
        known += (one for one in turn.ids if one is not None)
        if known and (found := turn.more.get("tool_call_id", known[0])) not in known:
            raise RowError(f"{name}[{place}].tool_call_id: found {found!r}, the calls before it are {', '.join(known)}")


def _list(value: Any, name: str) -> Sequence[Any]:
    if not isinstance(value, list) or not value:
        raise RowError(f"{name} is not a list of turns" if not isinstance(value, list) else f"{name} is empty")
    return value


def _optional_list(value: Any, name: str) -> list[Any]:
    if value is not None and not isinstance(value, list):
        raise RowError(f"{name} is a {type(value).__name__} instead of a list")
    return value or []


def _turn(turn: Any, name: str, pictures: list[str] | None) -> Turn:
    given = {key: one for key, one in turn.items() if one is not None} if isinstance(turn, dict) else {}
    if "role" not in given or not given.keys() <= TURN_KEYS:
        strange = ", ".join(sorted(map(repr, given.keys() - TURN_KEYS)))
        raise RowError(f"{name} has the unknown key {strange}" if strange else f"{name} does not have the key 'role'")
    role = given["role"]
    if role not in ROLES:
        raise RowError(f"{name}.role: found {role!r}, known are {', '.join(ROLES)}")
    for key, of in (("tool_calls", "assistant"), ("tool_call_id", "tool")):
        if key in given and role != of:
            raise RowError(f"{name}.{key}: only a turn of role {of} has it")
    called = _optional_list(given.get("tool_calls"), f"{name}.tool_calls")
    calls = tuple(_call(call, f"{name}.tool_calls[{place}]") for place, call in enumerate(called))
    content = _content(given.get("content", "" if calls else None), f"{name}.content", bool(calls), pictures)
    if role == "assistant" and not isinstance(content, str):
        raise RowError(f"{name}.content: a picture in an answer, and pictures are not learned")
    more = {key: string(given[key], f"{name}.{key}") for key in ("name", "tool_call_id") if key in given}
    return Turn(role, content, calls, more, tuple(_id(call, f"{name}.tool_calls") for call in called))


def _id(call: dict[str, Any], name: str) -> str | None:
    """The id of a tool call, None where it has none. Raises RowError for one that is no string."""
    return None if (found := call.get("id")) is None else string(found, f"{name}.id")


def _content(value: Any, name: str, may_be_empty: bool, pictures: list[str] | None) -> str | list[Part]:
    """A string, or parts of text joined; parts where pictures are among them."""
    if isinstance(value, list):
        found = parts(value, name, pictures)
        if any("text" not in part for part in found):
            return found
        value = "".join(part["text"] for part in found)
    return "" if may_be_empty and value == "" else string(value, name)


def _part(part: Any, name: str, pictures: list[str] | None) -> Part:
    kind = part.get("type") if isinstance(part, dict) else type(part).__name__
    if kind == "text":
        return {"type": "text", "text": string(part.get("text"), f"{name}.text")}
    if pictures is None:
        raise RowError(f"{name} is of type {kind!r}; kind sft reads parts of type 'text'")
    if kind not in ("image", "image_url"):
        raise RowError(f"{name} is of type {kind!r}", f"text, or {PICTURE}")
    source = part.get(kind)
    pictures.append(string(source.get("url") if isinstance(source, dict) else source, f"{name}.{kind}"))
    if len(pictures) > MOST_PICTURES:
        raise RowError(f"more than {MOST_PICTURES} pictures in a row", "fewer")
    return {"type": "image"}


def _call(call: Any, name: str) -> dict[str, Any]:
    """A tool call as OpenAI has it ({"function": {...}}) or bare; arguments are JSON, as text or as they are."""
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise RowError(f"{name} does not name a function")
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = json_text.parsed(arguments)
        except (ValueError, RecursionError):
            raise RowError(f"{name}.arguments is not JSON") from None
    if not isinstance(arguments, dict):
        raise RowError(f"{name}.arguments is a {type(arguments).__name__} instead of an object")
    _refuse_no_json(arguments, f"{name}.arguments")
    return {"name": string(function["name"], f"{name}.name"), "arguments": arguments}


def _refuse_no_json(value: Any, name: str) -> None:
    """Raise RowError for what a template could not write as JSON: NaN, infinities, half characters, a table's types."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            left += [*one, *one.values()]
        elif isinstance(one, list):
            left += one
        elif isinstance(one, str) and HALF.search(one):
            raise RowError(f"{name} has half of a surrogate pair, which is no character")
        elif isinstance(one, float) and not math.isfinite(one):
            raise RowError(f"{name} has {one}, which JSON does not have")
        elif not isinstance(one, str | float | int | None):
            raise RowError(f"{name} has a {type(one).__name__}, which JSON does not have")


def _sharegpt_turn(turn: Any, name: str) -> Turn:
    if not isinstance(turn, dict) or not {"from", "value"} <= turn.keys():
        raise RowError(f"{name} does not have the keys 'from' and 'value'")
    role = SHAREGPT.get(turn["from"]) if isinstance(turn["from"], str) else None
    if role is None:
        raise RowError(f"{name}.from: found {turn['from']!r}, known are {', '.join(SHAREGPT)}")
    for key in UNLEARNED:
        if turn.get(key) not in (None, 1):
            raise RowError(
                f"{name}.{key}: found {turn[key]!r}, and every answer is learned; leave the row out, or split it"
            )
    said = string(turn["value"], f"{name}.value")
    if turn["from"] != "function_call":
        return Turn(role, said)
    try:
        return Turn(role, "", (_call(json_text.parsed(said), f"{name}.value"),))
    except (ValueError, RecursionError):
        raise RowError(f"{name}.value is not JSON") from None


def _system(row: Mapping[str, Any], columns: Mapping[str, str]) -> list[Turn]:
    """The system's turn that some files have in a column of its own; often empty."""
    said = row.get(columns["system"])
    return [] if said in (None, "") else [Turn("system", string(said, columns["system"]))]


def _tools(row: Mapping[str, Any], columns: Mapping[str, str]) -> list[Any] | None:
    """Schemas of tools: a list of objects, or its JSON, as tables without nested columns have it."""
    name = columns["tools"]
    found = row.get(name)
    if isinstance(found, str) and found.strip():
        try:
            found = json_text.parsed(found)
        except (ValueError, RecursionError):
            raise RowError(f"{name} is not JSON") from None
    if found in (None, "", []):
        return None
    if not isinstance(found, list) or not all(isinstance(tool, dict) for tool in found):
        raise RowError(f"{name} is not a list of objects")
    _refuse_no_json(found, name)
    return found


def _answered(turns: list[Turn]) -> list[Turn]:
    if not any(turn.role == "assistant" for turn in turns):
        raise RowError("no turn is the assistant's, so there is nothing to learn")
    return turns
