"""An answer behind the text that asks for it, under templates that write finished answers without their reasoning.

DeepSeek-R1's template is one: it asks for an answer with `<think>`, and writes every answer, the last one too, without
what is before `</think>`. So it never writes what the model says. What the model reads and says is known all the
same: the text that asks for the answer, then what the message says, then the token that closes it. That is what a
server sees, token by token, and it is taken where the corpus's answers are documents of their own and the template,
given another text for the answer, writes that text unchanged and closes it at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stages.data.tokens.chat import Rendered
from stages.data.tokens.template import Message, Template, TemplateError
from stages.data.turns import REASONING

MARK = "8310answer0138"  # no template changes it, and no conversation says it


def behind_what_asks(
    template: Template, messages: Sequence[Message], tools: Sequence[Any] | None, turn_end: str | None
) -> Rendered | None:
    """The last answer behind the text that asks for it; None where that is not what the model would read and say.

    Raises TemplateError where the template opens the answer, as with `<think>`, and the message does not begin so.
    """
    place = len(messages) - 1
    content = messages[place].get("content")
    more = any(messages[place].get(key) for key in ("tool_calls", *REASONING))  # each template writes them its own way
    if template.marked or turn_end is None or not isinstance(content, str) or not content or more:
        return None
    asks = template.text(messages[:place], tools, prompt=True)
    written = template.text([*messages[:place], {**messages[place], "content": MARK}], tools, prompt=False)
    before, mark, behind = written.partition(MARK)
    closed = behind.startswith(turn_end) and behind[len(turn_end) :].strip() in (
        "",
        template.words.get("eos_token", ""),
    )
    if not (mark and closed and asks.startswith(before)):
        return None
    opened = asks[len(before) :]
    if not content.startswith(opened):
        raise TemplateError(
            f"messages[{place}]: the chat template asks for this answer with a text that ends with {opened!r}, and the "
            "answer does not begin so; begin it with that, its reasoning and the mark that ends this, or leave the row "
            "out"
        )
    text = f"{asks}{content[len(opened) :]}{turn_end}"
    return Rendered(text, ((len(asks), len(text)),), len(opened))
