"""Whether a chat template wrote what the conversation says: templates leave things out silently.

Some drop the reasoning of an answer, some a system's turn, tools, or tool calls that they know nothing of. Then the
model learns something else than the row says. White space does not count, since templates trim.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from stages.data.tokens.chat import ASSISTANT, Rendered
from stages.data.tokens.template import Message, TemplateError
from stages.data.turns import REASONING

SEPARATE = ". Where only earlier answers lose their reasoning, write `answers: separate` (kind sft) into its spec"


def refuse_left_out(
    messages: Sequence[Message], tools: Sequence[Any] | None, rendered: Rendered, first: int, end_of_reasoning: str
) -> None:
    """Raise TemplateError where a text, a call or a tool of the conversation is not in what was rendered.

    `rendered` has one span for each answer from message `first` on: what such an answer says has to lie in its own. Of
    answers before it, which are a prompt's, the template may leave out the reasoning: what ends with
    `end_of_reasoning`. A tool's result may be written as JSON; of calls, the names, and names and texts of their
    arguments are looked for, of tools the names.
    """
    whole, spans = _Text(rendered.text), iter(rendered.answers)
    for place, message in enumerate(messages):
        answer = message.get("role") == ASSISTANT
        learned = answer and place >= first
        where = _Text(_answer(rendered, *next(spans))) if learned else whole
        reasoning = {message[key]: key for key in REASONING if key in message} if learned else {}
        for text in (*_texts(message.get("content")), *reasoning):
            key = reasoning.get(text)
            if answer and not learned:
                text = text.rpartition(end_of_reasoning)[2]
            forms = (text, *_as_json(text)) if message.get("role") == "tool" else (text,)
            if not any(where.has(form) for form in forms):
                role, there = message.get("role"), "the answer" if learned else "the text"
                more = SEPARATE if learned and place + 1 < len(messages) else ""
                its = f", its {key!r} (templates read one of {', '.join(REASONING)})" if key else ""
                raise TemplateError(
                    f"messages[{place}]: what the {role} says is not in {there} that the chat template writes{its}; "
                    f"leave it out of the row if it is not to be learned, or take a template that writes it{more}"
                )
        if message.get("role") != "tool" and not whole.has(name := message.get("name", "")):  # a tool's is in its call
            raise TemplateError(
                f"messages[{place}]: the chat template does not write the name {name!r}; leave it out of the row"
            )
        for name in _names(message.get("tool_calls")):
            if not where.has(name):
                raise TemplateError(f"messages[{place}]: the chat template does not write the tool call {name!r}")
        for text in _arguments(message.get("tool_calls")):
            if not any(where.has(form) for form in (text, *_as_json(text), repr(text)[1:-1])):
                raise TemplateError(
                    f"messages[{place}]: the chat template does not write {text!r} of a tool call's arguments"
                )
    for name in _names(tools):
        if not whole.has(name):
            raise TemplateError(f"the chat template does not write the tool {name!r}; take one that knows tools")


def _answer(rendered: Rendered, start: int, end: int) -> str:
    """An answer with what the text before it has opened of it."""
    opened = rendered.opened if (start, end) == rendered.answers[-1] else 0
    return rendered.text[start - opened : end]


class _Text:
    """A text in which others are looked for, in the order in which they come as a rule."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    @cached_property
    def squeezed(self) -> str:
        return _squeezed(self.text)

    def has(self, text: str) -> bool:
        found = self.text.find(text, self.at)
        if found >= 0:
            self.at = found
            return True
        return text in self.text or _squeezed(text) in self.squeezed


def _squeezed(text: str) -> str:
    return "".join(text.split())


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, list | tuple):
        yield from (part["text"] for part in content if isinstance(part, Mapping) and "text" in part)


def _as_json(text: str) -> tuple[str, ...]:
    return tuple(json.dumps(text, ensure_ascii=plain, allow_nan=False)[1:-1] for plain in (False, True))


def _arguments(called: Any) -> Iterator[str]:
    """Names and texts of the arguments of calls; numbers and flags are written in too many ways."""
    left = [one.get("function", one).get("arguments") for one in called or () if isinstance(one, Mapping)]
    while left:
        value = left.pop()
        if isinstance(value, Mapping):
            left += [*value, *value.values()]
        elif isinstance(value, list | tuple):
            left += value
        elif isinstance(value, str) and value:
            yield value


def _names(called: Any) -> Iterator[str]:
    """Names of functions, in OpenAI's form ({"function": {"name": ...}}) or bare."""
    for one in called or ():
        function = one.get("function", one) if isinstance(one, Mapping) else None
        if isinstance(function, Mapping) and isinstance(function.get("name"), str):
            yield function["name"]
