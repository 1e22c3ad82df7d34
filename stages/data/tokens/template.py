"""Chat templates: Jinja in the sandbox that transformers uses (utils/chat_template_utils.py).

What would write something else each time is left out: there is no clock (`strftime_now`; templates that ask whether it
is there have a date of their own) and nothing that draws (`random`, `lipsum`). A template has `SECONDS` of processor
time and `MEMORY` for a conversation, may write `LONGEST` characters, and multiplies numbers up to `BITS`: Python does
not interrupt the product of longer ones.
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NoReturn

import jinja2
import jinja2.ext
from jinja2.filters import do_round
from jinja2.sandbox import ImmutableSandboxedEnvironment

from stages.errors import UserError

GENERATION = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")
SECONDS = 30.0  # of processor time for one rendering, which takes a thousandth
MEMORY = 1 << 30  # bytes for one rendering, which takes less than a MiB
STATM = 128  # bytes of /proc/self/statm at most
BITS = 1 << 16  # of a product or power of whole numbers
DIGITS = 400  # that a number is rounded to: the largest of 64 bits has 309
LONGEST = 16 << 20  # characters of a rendered conversation: a tokenizer takes up to forty times that
# What templates raise besides Jinja's own errors: by what they do with a conversation.
REFUSALS = (jinja2.TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError)
Message = Mapping[str, Any]


class TemplateError(UserError):
    """A conversation that the template cannot render, or whose answers cannot be found in what it renders."""


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
        text = str(caller())
        if self.blocks is not None:
            self.found.append((sum(map(len, self.blocks)), text))
        return text

    @contextmanager
    def noting(self, blocks: list[str]) -> Iterator[list[tuple[int, str]]]:
        """What is marked of what is rendered into `blocks`, and where it begins there."""
        self.blocks, self.found = blocks, []
        try:
            yield self.found
        finally:
            self.blocks = None


class _Sandbox(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset(("*", "**"))  # they are not computed while a template is compiled either

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() * right if operator == "**" else left.bit_length() + right.bit_length()
            if bits > BITS:
                raise OverflowError(f"a number of more than {BITS:,} bits")
        return super().call_binop(context, operator, left, right)


class Template:
    """A compiled chat template. `words` are the special tokens that it may name: bos_token, eos_token, ...

    `marked`: it says itself, by `{% generation %}` blocks, which stretches are answers.
    """

    def __init__(self, source: str, words: Mapping[str, str]) -> None:
        """Raises TemplateError for what is no template."""
        environment = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols])
        environment.filters |= {"tojson": _tojson, "round": _round}
        environment.globals["raise_exception"] = _raise
        del environment.filters["random"], environment.globals["lipsum"]
        self.words, self.marked = dict(words), GENERATION.search(source) is not None
        self._generation: Any = environment.extensions[_Generation.identifier]
        try:
            with _limited():  # constants are computed now
                self._template = environment.from_string(source)
        except (SyntaxError, RecursionError, *REFUSALS) as error:  # what it becomes may be nested too deep for Python
            raise TemplateError(f"the chat template cannot be read: {error}") from None

    def text(self, messages: Sequence[Message], tools: Sequence[Any] | None, prompt: bool) -> str:
        """The conversation as text; with `prompt`, up to where the next answer begins. Raises TemplateError."""
        return "".join(self._pieces(messages, tools, prompt))

    def blocks(self, messages: Sequence[Message], tools: Sequence[Any] | None) -> tuple[str, list[tuple[int, str]]]:
        """The conversation as text, and of each `{% generation %}` block where it begins and what it says."""
        written: list[str] = []
        with self._generation.noting(written) as found:
            for piece in self._pieces(messages, tools, prompt=False):
                written.append(piece)
        return "".join(written), found

    def _pieces(self, messages: Sequence[Message], tools: Sequence[Any] | None, prompt: bool) -> Iterator[str]:
        left = LONGEST
        try:
            with _limited():
                for piece in self._template.generate(
                    messages=list(messages), tools=tools, documents=None, add_generation_prompt=prompt, **self.words
                ):
                    left -= len(piece)
                    if left < 0:
                        raise TemplateError(f"the chat template writes more than {LONGEST:,} characters")
                    yield piece
        except MemoryError:
            raise UserError(
                f"the chat template takes more memory for a conversation than there is, or than {MEMORY >> 30} GiB; "
                "correct it"
            ) from None
        except RecursionError:  # no row to be skipped: how deep Python goes depends on the process
            raise UserError("the chat template calls itself too often for a conversation; correct it") from None
        except REFUSALS as error:
            raise TemplateError(f"the chat template refuses the conversation: {error}") from None


@contextmanager
def _limited() -> Iterator[None]:
    """Raise UserError after SECONDS of processor time: a loop without an end would be waited for. MemoryError where the
    process grows by more than MEMORY: the system would end it, or others. Only a process's first thread can be
    interrupted.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGVTALRM, _too_long)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = _size() + MEMORY
    if soft == resource.RLIM_INFINITY or soft > most:
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _size() -> int:
    """Bytes of this process's address space. Without a Path and a file object: it is asked for each rendering."""
    file = os.open("/proc/self/statm", os.O_RDONLY)
    try:
        return int(os.read(file, STATM).split()[0]) * resource.getpagesize()
    finally:
        os.close(file)


def _too_long(*_: object) -> NoReturn:
    raise UserError(
        f"the chat template has no end after {SECONDS:g} s for one conversation; correct its loops, or take the "
        "template that was published with the tokenizer"
    )


def _round(value: Any, precision: int = 0, method: Literal["common", "ceil", "floor"] = "common") -> Any:
    """jinja2's own, which takes ten to that power."""
    if abs(precision) > DIGITS:
        raise OverflowError(f"rounded to more than {DIGITS} digits")
    return do_round(value, precision, method)


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """As transformers has it: jinja2's own filter escapes HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)
