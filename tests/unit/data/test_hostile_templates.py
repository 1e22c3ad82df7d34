"""Chat templates that leave things out, mark the wrong stretch, draw, or have no end: refused, without a traceback."""

from __future__ import annotations

import resource
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from stages.data.tokens import template
from stages.data.tokens.chat import ChatTemplate
from stages.data.tokens.template import TemplateError
from stages.errors import UserError
from tests.edits import replaced
from tests.unit.data import published
from tests.unit.data.published import opened
from tests.unit.data.talks import TALK, TOOLS, learned, talk

CHATML = published.CHATML
SHORT: list[dict[str, Any]] = TALK[:2]
SYSTEM: list[dict[str, Any]] = [{"role": "system", "content": "the cat sat"}, *SHORT]
REASONED: list[dict[str, Any]] = [TALK[2], TALK[3]]
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
CALLED: list[dict[str, Any]] = [TALK[0], {"role": "assistant", "content": "", "tool_calls": [CALL]}]


def body(written: str) -> str:
    """ChatML that writes a message's content in another way."""
    return replaced(CHATML, "{{ m['content'] }}", written)


def marked(before: str, block: str) -> str:
    return (
        f"{{% for m in messages %}}{before}{{% if m.role == 'assistant' %}}{block}{{% else %}}{{{{ m.content }}}}"
        "{% endif %}<|im_end|>{% endfor %}"
    )


LEFT_OUT: dict[str, tuple[str, list[dict[str, Any]], list[dict[str, Any]] | None, str]] = {
    "the reasoning of an answer": (
        body("{{ m.content.split('</think>')[-1] }}"), REASONED, None,
        r"messages\[1\]: what the assistant says is not in the answer"),
    "a key that the template does not read": (
        CHATML, [SHORT[0], {**SHORT[1], "thinking": "hm"}], None, r"messages\[1\]: .* writes, its 'thinking'"),
    "the name of who asks": (
        CHATML, [{**SHORT[0], "name": "bob"}, SHORT[1]], None,
        r"messages\[0\]: the chat template does not write the name 'bob'"),
    "the answer": (
        body("{{ m.content if m.role == 'user' else '' }}"), SHORT, None,
        r"messages\[1\]: what the assistant says is not in the answer"),
    "a system's turn": (
        replaced(CHATML, "in messages", "in messages if m.role != 'system'"), SYSTEM, None,
        r"messages\[0\]: what the system says is not in the text"),
    "upper and lower case": (body("{{ m.content | upper }}"), SHORT, None, r"messages\[0\]: what the user says"),
    "a tool call": (CHATML, CALLED, None, r"messages\[1\]: the chat template does not write the tool call 'add'"),
    "what a tool is called with": (
        body("{{ m.tool_calls[0].function.name if m.tool_calls else m.content }}"),
        [TALK[0], {"role": "assistant", "content": "", "tool_calls": [
            {"type": "function", "function": {"name": "add", "arguments": {"of": ["one", {"and": "two"}]}}}]}],
        None, r"messages\[1\]: the chat template does not write '(of|one|and|two)' of a tool call's arguments"),
    "tools": (CHATML, SHORT, [CALL], r"the chat template does not write the tool 'add'"),
    "the result of a tool": (
        replaced(body("{{ m.content if m.role != 'tool' else '' }}"), "<|im_end|>", "add<|im_end|>"),
        [*CALLED, {"role": "tool", "content": "3 cats"}, TALK[1]], None, r"messages\[2\]: what the tool says"),
}  # fmt: skip


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_a_template_leaves_out_is_named(tmp_path: Path, name: str) -> None:
    template, messages, tools, message = LEFT_OUT[name]
    with pytest.raises(TemplateError, match=message):
        learned(opened(tmp_path, template), talk(messages, tools=tools))


def test_white_space_may_be_trimmed_and_the_result_of_a_tool_be_json(tmp_path: Path) -> None:
    template = (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}"
        "{{ m.content | tojson if m.role == 'tool' else m.content | trim | replace('. ', '.\\n') }}"
        "{{ m.tool_calls | tojson if m.tool_calls else '' }}{{ '<|im_end|>\\n' }}{% endfor %}"
        "{{ '<|im_start|>assistant\\n' if add_generation_prompt else '' }}"
    )
    messages = [{"role": "user", "content": "  hello "}, *CALLED[1:], {"role": "tool", "content": 'a "cat"\nsat é'},
                {"role": "assistant", "content": " It is. And\tthe cat. "}]  # fmt: skip
    assert learned(opened(tmp_path, template), talk(messages))[-1].endswith("It is.\nAnd\tthe cat.<|im_end|>")


MARKS = {
    "one of two answers": (
        marked("", "{% if loop.last %}{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}{% endif %}"), TALK,
        r"has 1 stretches in \{% generation %\} for 2 answers"),
    "questions too": (
        "{% for m in messages %}{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}{% endfor %}", SHORT,
        r"has 2 stretches in \{% generation %\} for 1 answers"),
    "in a comment alone": ("{# {% generation %} #}" + CHATML, SHORT, r"has 0 stretches"),
    "an answer without the end of its turn": (
        marked("", "{% generation %}{{ m.content }}{% endgeneration %}"), SHORT,
        r"messages\[1\]: the answer does not end with '<\|im_end\|>'"),
    "a block that is written elsewhere": (
        "{% set x %}{% generation %}{{ messages[1].content }}<|im_end|>{% endgeneration %}{% endset %}"
        "{{ messages[0].content }}{{ x }}", SHORT, r"messages\[1\]: what .* not stand in its text as it was marked"),
}  # fmt: skip


@pytest.mark.parametrize("name", MARKS)
def test_marks_that_are_not_the_answers_are_refused(tmp_path: Path, name: str) -> None:
    template, messages, message = MARKS[name]
    with pytest.raises(TemplateError, match=message):
        learned(opened(tmp_path, template), talk(messages))


BLOCK = "{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}"
TWICE = {
    "before the conversation": (
        "about {{ messages[1].content }}: " + CHATML, SHORT, r"messages\[1\]: .* this answer 2 times"),
    "twice in its turn": (
        body("{{ m.content }}{% if m.role == 'assistant' %} {{ m.content }}{% endif %}"), SHORT,
        r"messages\[1\]: the chat template writes this answer 2 times"),
    "in a later question": (
        body("{% if loop.index == 3 %}you said {{ messages[1].content }}: {% endif %}{{ m.content }}"), TALK,
        r"messages\[1\]: the chat template writes this answer 2 times"),
    "outside of its block too": (
        marked("{% if loop.first %}{{ messages[1].content }}{% endif %}", BLOCK), SHORT,
        r"messages\[1\]: the chat template writes this answer 2 times"),
    "three times in its block": (
        marked("", replaced(BLOCK, "{{ m.content }}", "{{ m.content * 3 }}")), SHORT,
        r"messages\[1\]: the chat template writes this answer 3 times"),
}  # fmt: skip


@pytest.mark.parametrize("name", TWICE)
def test_an_answer_that_is_written_twice_is_refused(tmp_path: Path, name: str) -> None:
    template, messages, message = TWICE[name]
    with pytest.raises(TemplateError, match=message):
        learned(opened(tmp_path, template), talk(messages))


def test_an_answer_that_a_question_repeats_is_written_once(tmp_path: Path) -> None:
    said = [{"role": "user", "content": "Say It is 3."}, {"role": "assistant", "content": "It is 3."}]
    assert learned(opened(tmp_path, CHATML), talk(said)) == ["It is 3.<|im_end|>"]


def test_what_follows_the_end_of_a_turn_in_a_marked_block_is_not_learned(tmp_path: Path) -> None:
    template = marked("", "{% generation %}{{ m.content }}{{ '<|im_end|>\\n' }}{% endgeneration %}")
    assert learned(opened(tmp_path, template), talk(SHORT)) == ["It is 3.<|im_end|>"]


RAISES = {
    "a division": ("{{ 1 / 0 }}", r"refuses the conversation: division by zero"),
    "a range": ("{% for i in range(10 ** 9) %}{% endfor %}", r"refuses the conversation: Range too big"),
    "writes without end": ("{% for i in range(9000) %}{{ 'x' * 9000 }}{% endfor %}", r"more than 16,777,216 char"),
    "draws": ("{{ messages | random }}", r"cannot be read: No filter named 'random'"),
    "draws words": ("{{ lipsum() }}", r"'lipsum' is undefined"),
    "raises a number": ("{{ 10 ** 99999999 }}", r"refuses the conversation: a number of more than 65,536 bits"),
    "multiplies without end": (
        "{% set n = namespace(x=99) %}{% for i in range(60) %}{% set n.x = n.x * n.x %}{% endfor %}",
        r"refuses the conversation: a number of more than 65,536 bits"),
    "rounds without end": ("{{ 1 | round(10 ** 9, 'ceil') }}", r"conversation: rounded to more than 400 digits"),
    "rounds each without end": (
        "{{ [messages | length] | map('round', 10 ** 9, 'floor') | list }}", r"conversation: rounded to more than 400"),
    "is nested too deep": ("{% for i in 'a' %}" * 30 + "{% endfor %}" * 30, r"cannot be read: too many stat"),
    "is nested much too deep": ("{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}", r"cannot be read: maximum recursion"),
}  # fmt: skip


@pytest.mark.parametrize("name", RAISES)
def test_whatever_a_template_raises_is_an_error_of_the_template(name: str) -> None:
    source, message = RAISES[name]
    with pytest.raises(TemplateError, match=message):
        ChatTemplate(source, {}).text(TALK, None, prompt=False)


def test_a_template_without_an_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "SECONDS", 0.2)
    endless = "{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}"
    with pytest.raises(UserError, match=r"no end after 0.2 s") as error:
        ChatTemplate(endless, {}).text(TALK, None, prompt=False)
    assert not isinstance(error.value, TemplateError), "no row to be skipped: another machine may be faster"
    assert ChatTemplate(CHATML, {}).text(SHORT, None, prompt=False), "and no alarm is left behind"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ 'x' * 10 ** 18 }}", r"takes more memory"),
        ("{{ messages[0].content * 3 * 10 ** 8 }}", r"takes more memory .* than 1 GiB"),
        ("{{ '%3000000000d' % 1 }}", r"takes more memory .* than 1 GiB"),
        ("{{ 'x' | center(3000000000) }}", r"takes more memory .* than 1 GiB"),
        (
            "{% set n = namespace(x='x') %}{% for i in range(32) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
            r"takes more memory .* than 1 GiB",
        ),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", r"calls itself too often"),
    ],
)
def test_what_depends_on_the_machine_is_no_fault_of_a_row(source: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        ChatTemplate(source, {}).text(TALK, None, prompt=False)
    assert not isinstance(error.value, TemplateError)


def test_a_template_that_needs_too_much_leaves_no_limit_behind() -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    for source in ("{{ 'x' * 10 ** 10 }}", CHATML):
        with suppress(UserError):
            ChatTemplate(source, {}).text(SHORT, None, prompt=False)
        assert resource.getrlimit(resource.RLIMIT_AS) == before


def test_numbers_and_texts_of_usual_length_are_multiplied() -> None:
    source = "{{ 3 * 'ab' }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 1.5 * 2 }} {{ true * 3 }}"
    assert ChatTemplate(source, {}).text(SHORT, None, prompt=False) == "ababab 1024 0.5 3.0 3"


def test_a_template_that_knows_tools_writes_them(tmp_path: Path) -> None:
    assert len(learned(opened(tmp_path, TOOLS), talk(CALLED, tools=[CALL]))) == 1
