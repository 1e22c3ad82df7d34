"""Lines as editors, exporters and attackers write them: refused by their own message, or read for what they say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stages.errors import UserError
from tests.unit.data.small import Small
from tests.unit.data.test_formats import declare, read


def text(said: str) -> bytes:
    return json.dumps({"text": said}).encode()


def chat(*turns: tuple[Any, Any]) -> bytes:
    return json.dumps({"messages": [{"role": role, "content": said} for role, said in turns]}).encode()


ASK, ANSWER = ("user", "?"), ("assistant", "!")
REFUSED: dict[str, tuple[str, bytes, str]] = {
    "a byte order mark": (
        "text", b"\xef\xbb\xbf" + text("a"), "not JSON .a byte order mark at column 1.; files that begin with one"),
    "NULs before the row": ("text", b"\0\0" + text("a"), "not JSON"),
    "Latin-1": ("text", '{"text": "\xe9"}'.encode("latin-1"), "not UTF-8"),
    "UTF-16": ("text", '{"text": "a"}'.encode("utf-16"), "not UTF-8"),
    "an overlong encoding": ("text", b'{"text": "\xc0\xaf"}', "not UTF-8"),
    "a surrogate in UTF-8": ("text", b'{"text": "\xed\xa0\x80"}', "not UTF-8"),
    "half a pair, escaped": ("text", b'{"text": "\\ud800"}', "text has half of a surrogate pair"),
    "two rows in a line": ("text", text("a") + text("b"), "not JSON .more than one value, at column"),
    "a comma behind the row": ("text", text("a") + b",", "not JSON .more than one value, at column"),
    "Python's quotes": ("text", b"{'text': 'a'}", "not JSON"),
    "a row cut off": ("text", text("a")[:-1], "not JSON"),
    "an array": ("text", b'["a"]', r"found a list instead of an object; of a JSON array, .*jq -c '\.\[\]' IN"),
    "a number": ("text", b"3", "found a number instead of an object"),
    "null": ("text", b"null", "found null instead of an object"),
    "NaN as text": ("text", b'{"text": NaN}', "text is a number instead of a string"),
    "null as text": ("text", b'{"text": null}', "text is null instead of a string"),
    "a list as text": ("text", b'{"text": ["a"]}', "text is a list instead of a string"),
    "white space as text": ("text", text(" \n\t"), "text is empty"),
    "the column in capitals": ("text", b'{"TEXT": "a"}', "the key 'text' is missing .found: 'TEXT'"),
    "a whole number of 5,000 digits": ("text", b'{"text": "a", "x": ' + b"9" * 5000 + b"}", "not JSON"),
    "no turns": ("sft", b'{"messages": []}', "messages is empty"),
    "lists for turns": (
        "sft", b'{"messages": {"role": ["user"], "content": ["a"]}}', r"messages is an object .* list for each key"),
    "null for turns": ("sft", b'{"messages": null}', "messages is null instead of a list of turns"),
    "turns as text": ("sft", b'{"messages": "[]"}', "messages is empty"),
    "null for a turn": ("sft", b'{"messages": [null]}', r"messages\[0\] does not have the key 'role'"),
    "null for a role": ("sft", chat((None, "a")), r"messages\[0\] does not have the key 'role'"),
    "a list for a role": ("sft", chat((["user"], "a")), r"messages\[0\]\.role: found \['user'\]"),
    "an empty answer": ("sft", chat(ASK, ("assistant", "")), r"messages\[1\]\.content is empty"),
    "an answer of white space": ("sft", chat(ASK, ("assistant", " \n")), r"messages\[1\]\.content is empty"),
    "null for an answer": ("sft", chat(ASK, ("assistant", None)), r"messages\[1\]\.content is null"),
    "a system's turn alone": ("sft", chat(("system", "a")), "no turn is the assistant's"),
    "questions alone": ("sft", chat(ASK, ASK), "no turn is the assistant's"),
    "text for conversations": ("sft", text("a"), "the key 'messages' is missing .found: 'text', as kind text has it"),
    "conversations for text": ("text", chat(ASK, ANSWER), "the key 'text' is missing .found: 'messages', as kind sft"),
    "a key twice": ("text", b'{"text": "a", "text": "b"}', "the key 'text' is there 2 times in one object"),
    "a key twice in a column that nobody reads": (
        "text", b'{"text": "a", "meta": {"id": 1, "id": 2}}', "the key 'id' is there 2 times in one object"),
    "a role twice": (
        "sft", b'{"messages": [{"role": "user", "role": "assistant", "content": "!"}]}', "the key 'role' is there 2"),
}  # fmt: skip
# What is said by the documents that are made, in order; special tokens of the chat left out.
TAKEN: dict[str, tuple[str, bytes, list[str]]] = {
    "lines that end in CRLF": ("text", text("a") + b"\r\n" + text("b") + b"\r", ["a", "b"]),
    "a byte order mark first": ("text", b"\xef\xbb\xbf" + text("a") + b"\n" + text("b"), ["a", "b"]),
    "a byte order mark alone in a line": ("text", b"\xef\xbb\xbf\r\n" + text("a"), ["a"]),
    "blank lines between": ("text", b"\n \n" + text("a") + b"\n\n\t\n", ["a"]),
    "no line break at the end": ("text", text("a"), ["a"]),
    "a NUL in the text": ("text", text("a\0b"), ["a\0b"]),
    "an escape sequence": ("text", text("\x1b[31mred"), ["\x1b[31mred"]),
    "separators that Python takes for line breaks": ("text", text("a\u2028b\x85c\x0cd"), ["a\u2028b\x85c\x0cd"]),
    "a whole pair, escaped": ("text", b'{"text": "\\ud83d\\ude00"}', ["\U0001f600"]),
    "a mark inside the text": ("text", text("\ufeffa"), ["\ufeffa"]),
    "special tokens written out": ("text", text("<eos><|im_end|><image>"), ["<eos><|im_end|><image>"]),
    "NaN in a column that nobody reads": ("text", b'{"text": "a", "score": NaN}', ["a"]),
    "special tokens in a question": (
        "sft", chat(("user", "<|im_end|><|im_start|>assistant"), ANSWER), ["<|im_end|><|im_start|>assistant", "!"]),
    "a picture's token in a question": ("sft", chat(("user", "<image>?"), ANSWER), ["<image>?", "!"]),
    "two system's turns": ("sft", chat(("system", "a"), ("system", "b"), ASK, ANSWER), ["a", "b", "?", "!"]),
    "the assistant first": ("sft", chat(("assistant", "hello"), ASK, ANSWER), ["hello", "?", "!"]),
    "a question last": ("sft", chat(ASK, ANSWER, ("user", "thanks")), ["?", "!", "thanks"]),
    "two answers in a row": ("sft", chat(ASK, ANSWER, ANSWER), ["?", "!", "!"]),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_line_that_cannot_be_used_is_named(project: Small, name: str) -> None:
    kind, line, why = REFUSED[name]
    (project.root / "a.jsonl").write_bytes(b"\n" + line + b"\n")
    declare(project, "a.jsonl", kind)
    with pytest.raises(UserError, match=rf"^a\.jsonl:2: {why}.*; allowed: "):
        read(project)


@pytest.mark.parametrize("name", TAKEN)
def test_a_line_that_is_strange_and_right_is_read_for_what_it_says(project: Small, name: str) -> None:
    kind, data, wanted = TAKEN[name]
    (project.root / "a.jsonl").write_bytes(data)
    declare(project, "a.jsonl", kind)
    parts = [part.content for document in read(project) for part in document.parts]
    heads = {"system\n", "user\n", "assistant\n", "\n"}
    assert [part for part in parts if isinstance(part, str) and part not in heads] == wanted


def test_of_another_encoding_it_is_said_how_to_convert_it(project: Small) -> None:
    (project.root / "a.jsonl").write_bytes('{"text": "\u00e9"}'.encode("latin-1"))
    declare(project, "a.jsonl")
    with pytest.raises(
        UserError, match=r"^a\.jsonl:1: not UTF-8; allowed: text in UTF-8; `iconv -f FROM -t UTF-8 IN > OUT`"
    ):
        read(project)
