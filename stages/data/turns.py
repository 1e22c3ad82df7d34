"""One turn of a conversation as users have it: role and content, with its parts, its reasoning and its tool calls."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stages.data import json_text
from stages.spec import wording
from stages.store.json_file import RepeatedKeyError

ROLES = ("system", "user", "assistant", "tool")
SILENT = ("system", "tool")  # whose content may be empty: in many rows that of the system, or what a tool returned
SHAREGPT = {
    "system": "system", "human": "user", "user": "user", "gpt": "assistant", "chatgpt": "assistant",
    "assistant": "assistant", "function_call": "assistant", "observation": "tool", "tool": "tool",
}  # fmt: skip
Part = dict[str, str]
"""Of a content with pictures, as chat templates take it: {"type": "text", "text": ...} or {"type": "image"}."""
LONGEST_WHY = 500  # characters: manifests list up to 10,000 of them, and rows have keys of any length
MOST_PICTURES = 256  # of one row, each of which is decoded
PICTURE = '{"type": "image", "image": "FILE"} or {"type": "image_url", "image_url": {"url": "FILE"}}'
HALF = re.compile("[\ud800-\udfff]")
REASONING = ("reasoning_content", "thinking", "reasoning")  # of an answer, by what a template calls it
REASONS = tuple((key, "assistant") for key in REASONING)
SAID = ("role", "content", "tool_calls", "name", "tool_call_id", *REASONING)
LEARNED = ("weight", "loss", "train")  # keys by which other trainers leave a turn out of the loss, unless they are 1
MASK_KEY = "mask"  # another such key: it leaves a turn out, or in, by its author
SHARE = "`rows: sharegpt` with `columns: {{conversations: {}}}`, which reads 'from' and 'value'"
MESSAGES = "`rows: messages` with `columns: {{messages: {}}}`, which reads 'role' and 'content'"


class RowError(Exception):
    """What is wrong with a row, without its place, and what is allowed."""

    def __init__(self, why: str, allowed: str = "") -> None:
        why = why if len(why) <= LONGEST_WHY else f"{why[:LONGEST_WHY]}..."
        super().__init__(why)
        self.why, self.allowed = why, allowed


@dataclass(frozen=True)
class Turn:
    """Role and content. `calls` are the tool calls of an assistant: {"name": ..., "arguments": {...}} each.

    `ids` are those of the calls, None where a call has none: made up by the answering program, and no part of the
    content.
    """

    role: str
    content: str | list[Part]
    calls: tuple[dict[str, Any], ...] = ()
    more: Mapping[str, str] = field(default_factory=dict)  # name, tool_call_id, reasoning
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


def of_messages(found: Any, name: str, pictures: list[str] | None) -> Turn:
    """A turn as OpenAI's messages have it; names of pictures as of `parts`. Raises RowError."""
    items = found.items() if isinstance(found, dict) else ()
    given = {key: one for key, one in items if one is not None and not (key in REASONING and one == "")}
    _refuse_keys(given, name)
    role = given["role"]
    if role not in ROLES:
        raise RowError(f"{name}.role: found {role!r}, known are {', '.join(ROLES)}")
    for key, of in (("tool_calls", "assistant"), ("tool_call_id", "tool"), *REASONS):
        if key in given and role != of:
            raise RowError(f"{name}.{key}: only a turn of role {of} has it")
    _refuse_unlearned(given, role, name)
    called = optional_list(given.get("tool_calls"), f"{name}.tool_calls")
    calls = tuple(_call(call, f"{name}.tool_calls[{place}]") for place, call in enumerate(called))
    silent = bool(calls) or role in SILENT
    content = _content(given.get("content", "" if calls else None), f"{name}.content", silent, pictures)
    if role == "assistant" and not isinstance(content, str):
        raise RowError(f"{name}.content: a picture in an answer, and pictures are not learned")
    more = {key: string(given[key], f"{name}.{key}") for key in ("name", "tool_call_id", *REASONING) if key in given}
    return Turn(role, content, calls, more, tuple(_id(call, f"{name}.tool_calls") for call in called))


def _refuse_keys(given: Mapping[str, Any], name: str) -> None:
    """Raise RowError for a turn without a role, or with unknown keys."""
    strange = sorted(map(repr, given.keys() - {*SAID, *LEARNED, MASK_KEY}))
    if {"'from'", "'value'"} <= set(strange):
        raise RowError(f"{name} has the keys 'from' and 'value'", SHARE.format(name.partition("[")[0]))
    if strange:
        allowed = f"{', '.join(SAID)}; leave others out of the turns (beside them, columns are ignored)"
        raise RowError(f"{name} has the unknown key {', '.join(strange)}", allowed)
    if "role" not in given:
        raise RowError(f"{name} does not have the key 'role'")


def _refuse_unlearned(turn: Mapping[str, Any], role: str, name: str) -> None:
    """Raise RowError for an answer that its row leaves out of the loss; other turns are not learned anyway."""
    for key in (*LEARNED, MASK_KEY):
        if role == "assistant" and turn.get(key) not in ((None,) if key == MASK_KEY else (None, 1)):
            raise RowError(
                f"{name}.{key}: found {turn[key]!r}, and every answer is learned; leave the row out, or give what "
                "stands before the answers that are to be learned as a prompt (`rows: prompt_completion`)"
            )


def of_sharegpt(turn: Any, name: str) -> Turn:
    """A turn as ShareGPT has it. Raises RowError."""
    if not isinstance(turn, dict) or not {"from", "value"} <= turn.keys():
        allowed = MESSAGES.format(name.partition("[")[0]) if isinstance(turn, dict) and "role" in turn else ""
        raise RowError(f"{name} does not have the keys 'from' and 'value'", allowed)
    role = SHAREGPT.get(turn["from"]) if isinstance(turn["from"], str) else None
    if role is None:
        raise RowError(f"{name}.from: found {turn['from']!r}, known are {', '.join(SHAREGPT)}")
    _refuse_unlearned(turn, role, name)
    content = "" if role in SILENT and turn["value"] == "" else string(turn["value"], f"{name}.value")
    if turn["from"] != "function_call":
        return Turn(role, content)
    return Turn(role, "", (_call(from_json(content, f"{name}.value"), f"{name}.value"),))


def parts(value: Sequence[Any], name: str, pictures: list[str] | None) -> list[Part]:
    """Parts of a content, texts that follow one another joined; `pictures` as of `messages`. Raises RowError."""
    found: list[Part] = []
    for place, part in enumerate(value):
        one = _part(part, f"{name}[{place}]", pictures)
        if "text" in one and found and "text" in found[-1]:
            one = {"type": "text", "text": found.pop()["text"] + one["text"]}
        found.append(one)
    return found


def string(value: Any, name: str) -> str:
    """A value that has to be text. Raises RowError."""
    if not isinstance(value, str):
        raise RowError(f"{name} is {wording.of_kind(value)} instead of a string")
    if not value or value.isspace():
        raise RowError(f"{name} is empty")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise RowError(f"{name} has half of a surrogate pair, which is no character") from None
    return value


def from_json(text: str, name: str) -> Any:
    """What a text says that has to be JSON. Raises RowError."""
    try:
        return json_text.parsed(text)
    except RepeatedKeyError as error:
        raise RowError(f"{name}: {error}") from None
    except (ValueError, RecursionError):
        raise RowError(f"{name} is not JSON") from None


def optional_list(value: Any, name: str) -> list[Any]:
    """A value that has to be a list, or null. Raises RowError."""
    if value is not None and not isinstance(value, list):
        raise RowError(f"{name} is {wording.of_kind(value)} instead of a list")
    return value or []


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
        arguments = from_json(arguments, f"{name}.arguments")
    if not isinstance(arguments, dict):
        raise RowError(f"{name}.arguments is {wording.of_kind(arguments)} instead of an object")
    refuse_no_json(arguments, f"{name}.arguments")
    return {"name": string(function["name"], f"{name}.name"), "arguments": arguments}


def refuse_no_json(value: Any, name: str) -> None:
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
