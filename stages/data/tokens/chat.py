"""Conversations as a tokenizer's own chat template renders them, with the stretches that the model is to learn.

Which stretches are answers is found exactly, never by looking for words. A template with `{% generation %}` blocks
says it itself, one block for each answer. Of any other, the conversation is rendered up to each answer and behind it:
what lies between the two is the answer, if both are beginnings of the whole text. Where they are not (a template that
rewrites earlier turns), the conversation is refused: it is not known which tokens are the answer's. Answers of a
prompt are not learned, and may be rewritten: `first` is where those that are learned begin.
Whether what the messages say is in the text, `template_omissions` checks; that no answer is there twice, a rendering
with marks for answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.data.tokens.template import Message, Template, TemplateError

ASSISTANT = "assistant"
FORMS = 4096  # sequences of turns that are remembered
SHOWN = 30  # characters of what a template writes where an answer is requested
Span = tuple[int, int]


@dataclass(frozen=True)
class Rendered:
    """The text of a conversation, and [start, end) of each stretch of it that the model is to learn.

    So many characters before the last stretch are `opened` by the text that asks for it, and repeated by the answer.
    """

    text: str
    answers: tuple[Span, ...]
    opened: int = 0


class ChatTemplate(Template):
    """A chat template that tells its answers."""

    def __init__(self, source: str, words: Mapping[str, str]) -> None:
        """Raises TemplateError for what is no template."""
        super().__init__(source, words)
        self._once = set[tuple[Any, ...]]()  # sequences of turns whose answers are written once each

    def render(
        self, messages: Sequence[Message], tools: Sequence[Any] | None, turn_end: str | None, first: int = 0
    ) -> Rendered:
        """A conversation with its answers from message `first` on, each with the `turn_end` that closes it, and
        without what follows that.

        Raises TemplateError where the template refuses it, or its answers cannot be found.
        """
        self._refuse_twice(messages, tools, first)
        if self.marked:
            return self._by_blocks(messages, tools, turn_end, first)
        text, eos = self.text(messages, tools, prompt=False), self.words.get("eos_token", "")
        spans = []
        for place in _answers(messages, first):
            before = self.text(messages[:place], tools, prompt=True)
            behind = self.text(messages[: place + 1], tools, prompt=False)
            if not text.startswith(behind):  # some write eos where nothing follows and nothing is requested
                behind = behind.removesuffix(eos)
            _refuse_rewritten(text, before, behind, place)
            spans.append((len(before), _closed(text, len(before), len(behind), (turn_end, eos), place)))
        return Rendered(text, tuple(spans))

    def _refuse_twice(self, messages: Sequence[Message], tools: Sequence[Any] | None, first: int) -> None:
        """Raise TemplateError where an answer is written twice: the model would be given what it is to learn.

        It is seen with other texts in the answers' place, once for each sequence of turns.
        """
        form = (bool(tools), first, *((turn.get("role"), *turn, type(turn.get("content"))) for turn in messages))
        if form in self._once:
            return
        marks = {
            place: f"8310{place:06d}0138"
            for place in _answers(messages, first)
            if isinstance(messages[place].get("content"), str) and messages[place]["content"]
        }
        # The marks may be why: what it refuses of the conversation is reported when that is rendered.
        try:
            turns = [{**turn, "content": marks.get(place, turn.get("content"))} for place, turn in enumerate(messages)]
            text = self.text(turns, tools, prompt=False)
        except TemplateError:
            return
        for place, mark in marks.items():
            if (count := text.count(mark)) > 1:
                raise TemplateError(
                    f"messages[{place}]: the chat template writes this answer {count} times, so the model would be "
                    "given what it is to learn; take the template that was published with the tokenizer, or correct it"
                )
        if len(self._once) == FORMS:
            self._once.clear()
        self._once.add(form)

    def _by_blocks(
        self, messages: Sequence[Message], tools: Sequence[Any] | None, turn_end: str | None, first: int
    ) -> Rendered:
        text, found = self.blocks(messages, tools)
        whose = _answers(messages, 0)
        if len(found) != len(whose):
            raise TemplateError(
                f"the chat template has {len(found)} stretches in {{% generation %}} for {len(whose)} answers; put "
                "each answer, and nothing else, into one such block"
            )
        spans = []
        for place, (start, block) in zip(whose, found, strict=True):
            if not text.startswith(block, start):
                raise TemplateError(
                    f"messages[{place}]: what the chat template has in {{% generation %}} does not stand in its text "
                    "as it was marked; take the block out of macros, filters and {% set %}"
                )
            if place >= first:
                spans.append((start, _closed(text, start, start + len(block), (turn_end, ""), place)))
        return Rendered(text, tuple(spans))


def _answers(messages: Sequence[Message], first: int) -> list[int]:
    """The places of the assistant's turns from `first` on."""
    return [place for place, one in enumerate(messages) if place >= first and one.get("role") == ASSISTANT]


def _refuse_rewritten(text: str, before: str, behind: str, place: int) -> None:
    """Raise TemplateError where what is before an answer, or up to its end, is no beginning of the whole text."""
    if not text.startswith(behind):
        raise TemplateError(
            f"messages[{place}]: the chat template writes this answer in another way where the conversation goes on, "
            "so which tokens are its is unknown; write `answers: separate` into the corpus's spec (kind sft), which "
            "makes each answer a document of its own, or mark answers in the template with {% generation %}"
        )
    if not text.startswith(before) or len(before) >= len(behind):
        raise TemplateError(
            f"messages[{place}]: the chat template asks for this answer with a text that ends with "
            f"{before[-SHOWN:]!r}, and with the answer it does not go on from there, so it is unknown which tokens "
            "are the answer's; leave the row out, correct the template, or mark answers in it with {% generation %}"
        )


def _closed(text: str, start: int, end: int, ends: tuple[str | None, str], place: int) -> int:
    """Where an answer ends that lies in [start, end): behind the token that closes it. A model that never learns that
    token never stops. Of `ends`, the first is that token, the second what may follow it.
    """
    turn_end, eos = ends
    if turn_end is None:
        return end
    closing = text.rfind(turn_end, start, end)
    if closing < 0 or text[closing + len(turn_end) : end].strip() not in ("", eos):
        raise TemplateError(
            f"messages[{place}]: the answer does not end with {turn_end!r}, which the tokenizer's spec names as "
            "turn_end; correct the role, or the template"
        )
    return closing + len(turn_end)
