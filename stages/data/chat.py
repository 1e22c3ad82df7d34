"""Conversations as a tokenizer's own chat template renders them, with the stretches that the model is to learn.

The template is Jinja in the sandbox that transformers uses (utils/chat_template_utils.py), without what would write
something else each time: it is given no clock (`strftime_now`; templates that ask whether it is there have a date of
their own) and nothing that draws (`random`, `lipsum`). It has `SECONDS` of processor time for a conversation, and may
write `LONGEST` characters.

Which stretches are answers is found exactly, never by looking for words. A template with `{% generation %}` blocks
says it itself, one block for each answer. Of any other, the conversation is rendered up to each answer and behind it:
what lies between the two is the answer, if both are beginnings of the whole text. Where they are not (a template that
rewrites earlier turns), the conversation is refused: it cannot be told which tokens are the answer's. Whether what the
messages say is in the text, `said` checks; that no answer is there twice, a rendering with marks for answers.
"""

from __future__ import annotations

import json
import re
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from stages.errors import UserError

ASSISTANT = "assistant"
GENERATION = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")
SECONDS = 30.0  # of processor time for one rendering, which takes a thousandth
LONGEST = 16 << 20  # characters of a rendered conversation: a tokenizer takes up to forty times that
# What templates raise besides Jinja's own errors: by what they do with a conversation.
REFUSALS = (jinja2.TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError)
FORMS = 4096  # sequences of turns that are remembered
Message = Mapping[str, Any]
Span = tuple[int, int]


class TemplateError(UserError):
    """A conversation that the template cannot render, or whose answers cannot be told in what it renders."""


@dataclass(frozen=True)
class Rendered:
    """The text of a conversation, and [start, end) of each stretch of it that the model is to learn."""

    text: str
    answers: tuple[Span, ...]


class _Generation(jinja2.ext.Extension):
    """`{% generation %}` ... `{% endgeneration %}`: notes where what is inside lies in the text."""

    tags = {"generation"}  # noqa: RUF012  (jinja2's own type)

    def __init__(self, environment: jinja2.Environment) -> None:
        super().__init__(environment)
        self.blocks: list[str] | None = None
        self.found: list[tuple[int, str]] = []

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_noted"), [], [], body).set_lineno(line)

    def _noted(self, caller: Any) -> str:
        said = str(caller())
        if self.blocks is not None:
            self.found.append((sum(map(len, self.blocks)), said))
        return said

    @contextmanager
    def noting(self, blocks: list[str]) -> Iterator[list[tuple[int, str]]]:
        """What is marked of what is rendered into `blocks`, and where it begins there."""
        self.blocks, self.found = blocks, []
        try:
            yield self.found
        finally:
            self.blocks = None


class ChatTemplate:
    """A compiled chat template. `words` are the special tokens that it may name: bos_token, eos_token, ..."""

    def __init__(self, source: str, words: Mapping[str, str]) -> None:
        """Raises TemplateError for what is no template."""
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
        )
        environment.filters["tojson"] = _tojson
        environment.globals["raise_exception"] = _raise
        del environment.filters["random"], environment.globals["lipsum"]
        self._words, self._marked = dict(words), GENERATION.search(source) is not None
        self._once = set[tuple[Any, ...]]()  # sequences of turns whose answers are written once each
        self._generation: Any = environment.extensions[_Generation.identifier]
        try:
            self._template = environment.from_string(source)
        except (SyntaxError, RecursionError, *REFUSALS) as error:  # what it becomes may be nested too deep for Python
            raise TemplateError(f"the chat template cannot be read: {error}") from None

    def text(self, messages: Sequence[Message], tools: Sequence[Any] | None, prompt: bool) -> str:
        """The conversation as text; with `prompt`, up to where the next answer begins. Raises TemplateError."""
        return "".join(self._pieces(messages, tools, prompt))

    def render(self, messages: Sequence[Message], tools: Sequence[Any] | None, turn_end: str | None) -> Rendered:
        """A conversation with its answers, each with the `turn_end` that closes it, and without what follows that.

        Raises TemplateError where the template refuses it, or its answers cannot be told.
        """
        self._refuse_twice(messages, tools)
        if self._marked:
            return self._by_blocks(messages, tools, turn_end)
        text, eos = self.text(messages, tools, prompt=False), self._words.get("eos_token", "")
        spans = []
        for place, message in enumerate(messages):
            if message.get("role") == ASSISTANT:
                before = self.text(messages[:place], tools, prompt=True)
                behind = self.text(messages[: place + 1], tools, prompt=False)
                if not text.startswith(behind):  # some write eos where nothing follows and nothing is asked for
                    behind = behind.removesuffix(eos)
                spans.append(_between(text, before, behind, (turn_end, eos), place))
        return Rendered(text, tuple(spans))

    def _refuse_twice(self, messages: Sequence[Message], tools: Sequence[Any] | None) -> None:
        """Raise TemplateError where an answer is written twice: the model would be given what it is to learn.

        It is seen with other texts in the answers' place, once for each sequence of turns.
        """
        form = (bool(tools), *((turn.get("role"), *turn, type(turn.get("content"))) for turn in messages))
        if form in self._once:
            return
        marks = {
            place: f"8310{place:06d}0138"
            for place, turn in enumerate(messages)
            if turn.get("role") == ASSISTANT and isinstance(turn.get("content"), str) and turn["content"]
        }
        try:
            turns = [{**turn, "content": marks.get(place, turn.get("content"))} for place, turn in enumerate(messages)]
            text = self.text(turns, tools, prompt=False)
        except (
            TemplateError
        ):  # the marks may be why: what it refuses of the conversation is reported when that is rendered
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

    def _by_blocks(self, messages: Sequence[Message], tools: Sequence[Any] | None, turn_end: str | None) -> Rendered:
        blocks: list[str] = []
        with self._generation.noting(blocks) as found:
            for piece in self._pieces(messages, tools, prompt=False):
                blocks.append(piece)
        text, whose = "".join(blocks), [place for place, one in enumerate(messages) if one.get("role") == ASSISTANT]
        if len(found) != len(whose):
            raise TemplateError(
                f"the chat template has {len(found)} stretches in {{% generation %}} for {len(whose)} answers; put "
                "each answer, and nothing else, into one such block"
            )
        spans = []
        for place, (start, said) in zip(whose, found, strict=True):
            if not text.startswith(said, start):
                raise TemplateError(
                    f"messages[{place}]: what the chat template has in {{% generation %}} does not stand in its text "
                    "as it was marked; take the block out of macros, filters and {% set %}"
                )
            spans.append((start, _closed(text, start, start + len(said), (turn_end, ""), place)))
        return Rendered(text, tuple(spans))

    def _pieces(self, messages: Sequence[Message], tools: Sequence[Any] | None, prompt: bool) -> Iterator[str]:
        left = LONGEST
        try:
            with _limited():
                for piece in self._template.generate(
                    messages=list(messages), tools=tools, documents=None, add_generation_prompt=prompt, **self._words
                ):
                    left -= len(piece)
                    if left < 0:
                        raise TemplateError(f"the chat template writes more than {LONGEST:,} characters")
                    yield piece
        except MemoryError:
            raise UserError(
                "the chat template takes more memory for a conversation than there is; correct it"
            ) from None
        except RecursionError:  # no row to be skipped: how deep Python goes depends on the process
            raise UserError("the chat template calls itself too often for a conversation; correct it") from None
        except REFUSALS as error:
            raise TemplateError(f"the chat template refuses the conversation: {error}") from None


@contextmanager
def _limited() -> Iterator[None]:
    """Raise UserError after SECONDS of processor time: a loop without an end would be waited for. Only a process's
    first thread can be interrupted.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGVTALRM, _too_long)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _too_long(*_: object) -> NoReturn:
    raise UserError(
        f"the chat template has no end after {SECONDS:g} s for one conversation; correct its loops, or take the "
        "template that was published with the tokenizer"
    )


def _between(text: str, before: str, behind: str, ends: tuple[str | None, str], place: int) -> Span:
    if not (text.startswith(before) and text.startswith(behind) and len(before) < len(behind)):
        raise TemplateError(
            f"messages[{place}]: the chat template writes this answer in another way where the conversation goes on, "
            "so it cannot be told which tokens are its; leave the row out, split it so that it ends with this answer, "
            "or mark answers in the template with {% generation %}"
        )
    return len(before), _closed(text, len(before), len(behind), ends, place)


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


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """As transformers has it: jinja2's own filter escapes HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)
