"""Conversations as users have them, to turns: OpenAI's messages, ShareGPT, Alpaca, prompt and completion.

Each shape comes to the same turns, so the same conversation is the same document in all of them.

- messages: a list of {"role": ..., "content": ...}. Content is a string or a list of parts
  {"type": "text", "text": ...}, and of pictures where a corpus has any (`parts`); an assistant's turn may have
  `tool_calls`, and then no content, and its reasoning; one of a tool may have `name` and `tool_call_id`.
- sharegpt: a list of {"from": "human" | "gpt" | ..., "value": ...}, as ShareGPT exports have it.
- alpaca: instruction, input (may be empty) and output, and `system` and `history` where there are any.
- prompt_completion: two strings, which get no turns: the completion follows the prompt and alone is learned. Or two
  lists of messages, of which the second is learned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.data import turns
from stages.data.turns import Part, RowError, Turn, string
from stages.errors import page
from stages.spec import wording

PICTURES = ("image", "images")  # columns that data sets have pictures in


@dataclass(frozen=True)
class Chat:
    """A conversation: answers from turn `first` on are learned; `tools` are the schemas of what may be called."""

    turns: list[Turn]
    tools: list[Any] | None = None
    first: int = 0


def messages(row: Mapping[str, Any], columns: Mapping[str, str], pictures: list[str] | None = None) -> Chat:
    """OpenAI's messages; the names of their pictures are added to `pictures`, which is None where none is allowed."""
    found = _messages(row[columns["messages"]], columns["messages"], pictures)
    return Chat(_answered(found), _tools(row, columns))


def interleaved(row: Mapping[str, Any], columns: Mapping[str, str], pictures: list[str]) -> list[Part]:
    """Texts and pictures in any order: a list of parts, as of a message."""
    name = columns["content"]
    found = turns.parts(_list(row[name], name), name, pictures)
    if not any("text" in part for part in found):
        raise RowError(f"{name} has no text, so there is nothing to learn")
    return found


def sharegpt(row: Mapping[str, Any], columns: Mapping[str, str]) -> Chat:
    """ShareGPT's conversations."""
    name = columns["conversations"]
    found = [turns.of_sharegpt(turn, f"{name}[{place}]") for place, turn in enumerate(_list(row[name], name))]
    return Chat(_answered(_system(row, columns) + found), _tools(row, columns))


def alpaca(row: Mapping[str, Any], columns: Mapping[str, str]) -> Chat:
    """An instruction with its input below it, and its output."""
    before = _system(row, columns)
    for place, pair in enumerate(turns.optional_list(row.get(columns["history"]), columns["history"])):
        name = f"{columns['history']}[{place}]"
        if not isinstance(pair, list) or len(pair) != 2:
            raise RowError(f"{name} is not a question and its answer")
        before += (Turn("user", string(pair[0], f"{name}[0]")), Turn("assistant", string(pair[1], f"{name}[1]")))
    ask = string(row[columns["instruction"]], columns["instruction"])
    if (more := row.get(columns["input"])) not in (None, ""):
        ask = f"{ask}\n{string(more, columns['input'])}"
    answer = Turn("assistant", string(row[columns["output"]], columns["output"]))
    return Chat([*before, Turn("user", ask), answer])


def prompt_completion(row: Mapping[str, Any], columns: Mapping[str, str]) -> tuple[str, str] | Chat:
    """A prompt and what follows it: two strings, or two lists of messages."""
    prompt, completion = columns["prompt"], columns["completion"]
    if isinstance(row[prompt], str):
        return string(row[prompt], prompt), string(row[completion], completion)
    before = _messages(row[prompt], prompt)
    return Chat([*before, *_answered(_messages(row[completion], completion))], _tools(row, columns), len(before))


def _messages(value: Any, name: str, pictures: list[str] | None = None) -> list[Turn]:
    found = [turns.of_messages(turn, f"{name}[{place}]", pictures) for place, turn in enumerate(_list(value, name))]
    _refuse_unasked(found, name)
    return found


def _refuse_unasked(turns: Sequence[Turn], name: str) -> None:
    """Raise RowError for a tool's result whose id none of the calls before it has, where these have ids."""
    known: list[str] = []
    for place, turn in enumerate(turns):
        known += (one for one in turn.ids if one is not None)
        if known and (found := turn.more.get("tool_call_id", known[0])) not in known:
            raise RowError(f"{name}[{place}].tool_call_id: found {found!r}, the calls before it are {', '.join(known)}")


def refuse_lost_pictures(row: Mapping[str, Any], found: Chat | tuple[str, ...]) -> None:
    """Raise RowError where a text says where pictures of the row are, as LLaVA's do: a model would learn the word."""
    name = next((name for name in PICTURES if row.get(name)), None)
    texts = [turn.content for turn in found.turns] if isinstance(found, Chat) else found
    if name and any("<image>" in text for text in texts):
        raise RowError(
            f"<image> in the text, and pictures in {name!r}, which this kind does not read",
            f"builder pictures; `llava` in {page('known-data')} makes its rows",
        )


def _list(value: Any, name: str) -> Sequence[Any]:
    """A list of turns, or its JSON, as tables without nested columns have it. Raises RowError."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = turns.from_json(value, name)
    if not isinstance(value, list):
        lists = isinstance(value, dict) and value and all(isinstance(one, list) for one in value.values())
        why = ", of a list for each key, as datasets has `Sequence({...})`" if lists else ""
        raise RowError(f"{name} is {wording.of_kind(value)} instead of a list of turns{why}")
    if not value:
        raise RowError(f"{name} is empty")
    return value


def _system(row: Mapping[str, Any], columns: Mapping[str, str]) -> list[Turn]:
    """The system's turn that some files have in a column of its own; often empty."""
    text = row.get(columns["system"])
    return [] if text in (None, "") else [Turn("system", string(text, columns["system"]))]


def _tools(row: Mapping[str, Any], columns: Mapping[str, str]) -> list[Any] | None:
    """Schemas of tools: a list of objects, or its JSON, as tables without nested columns have it."""
    name = columns["tools"]
    found = row.get(name)
    if isinstance(found, str) and found.strip():
        found = turns.from_json(found, name)
    if found in (None, "", []):
        return None
    if not isinstance(found, list) or not all(isinstance(tool, dict) for tool in found):
        raise RowError(f"{name} is not a list of objects")
    turns.refuse_no_json(found, name)
    return found


def _answered(turns: list[Turn]) -> list[Turn]:
    if not any(turn.role == "assistant" for turn in turns):
        raise RowError("no turn is the assistant's, so there is nothing to learn")
    return turns
