"""A user's own files: prepared like the shipped corpora, or refused with file, line and reason."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from stages.data.prepared import Corpus
from stages.data.tokenizer import FILE, Tokenizer
from stages.data.user import BadRowError, prepare_user
from stages.errors import UserError
from tests.unit.data.small import Small

GOOD = {
    "text": {"text": "a sentence"},
    "sft": {"messages": [{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "2"}]},
}


def turns(*pairs: tuple[object, object]) -> bytes:
    return json.dumps({"messages": [{"role": role, "content": content} for role, content in pairs]}).encode()


@pytest.mark.parametrize(
    ("kind", "row", "why"),
    [
        ("text", b"{nope}", "not JSON"),
        ("text", b"[1]", "found a list instead of an object"),
        ("text", b'{"body": "x"}', "the key 'text' is missing .found: 'body'."),
        ("text", b'{"text": 3}', "text is a int instead of a string"),
        ("text", b'{"text": "  "}', "text is empty"),
        ("text", b'{"text": "\xff"}', "not UTF-8"),
        ("text", b'{"text": "\\ud800"}', "text holds half of a surrogate pair"),
        ("text", b'{"text": "a"', "not JSON"),
        ("sft", b'{"text": "a"}', "the key 'messages' is missing"),
        ("sft", b'{"messages": "a"}', "messages is not a list"),
        ("sft", b'{"messages": []}', "messages is empty"),
        ("sft", b'{"messages": ["a"]}', r"messages\[0\] does not have exactly the keys"),
        ("sft", turns(("robot", "a")), r"messages\[0\].role: found 'robot'"),
        ("sft", turns(("user", None)), r"messages\[0\].content is a NoneType"),
        ("sft", turns(("user", "a"), ("assistant", "")), r"messages\[1\].content is empty"),
        ("sft", turns(("user", "a")), "no turn is the assistant's"),
    ],
)
def test_a_bad_row_is_named_and_nothing_is_written(small: Small, tmp_path: Path, kind, row: bytes, why: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(json.dumps(GOOD[kind]).encode() + b"\n\n" + row + b"\n")
    with pytest.raises(BadRowError, match=rf"rows\.jsonl:3: {why}.*; allowed: "):
        prepare_user(path, kind, small.data / "tokenizer", tmp_path / "out")
    assert [entry.name for entry in tmp_path.iterdir()] == ["rows.jsonl"]


def test_rows_become_documents(small: Small, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": f"number {i} <eos>"}) + "\n" for i in range(200)))
    manifest = prepare_user(path, "text", small.data / "tokenizer", tmp_path / "mine")
    corpus, tokenizer = Corpus(tmp_path / "mine"), Tokenizer(small.data / "tokenizer" / FILE)
    texts = [tokenizer.decode(corpus.tokens[a:b]) for a, b in zip(corpus.offsets, corpus.offsets[1:], strict=False)]
    assert sorted(texts) == sorted(f"<bos>number {i} <eos><eos>" for i in range(200))
    assert (corpus.tokens == 2).sum() == 200  # "<eos>" that a user wrote stays text
    assert manifest.documents + manifest.heldout == 200
    assert manifest.heldout > 0


def test_chats_are_supervised_on_their_answers(small: Small, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(GOOD["sft"]) + "\n")
    prepare_user(path, "sft", small.data / "tokenizer", tmp_path / "mine")
    corpus, tokenizer = Corpus(tmp_path / "mine"), Tokenizer(small.data / "tokenizer" / FILE)
    assert corpus.supervised is not None
    assert tokenizer.decode(corpus.tokens[np.flatnonzero(corpus.supervised)]) == "2<|im_end|><eos>"
    assert corpus.training_documents == 1


def test_plain_text_is_one_document(small: Small, tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_text("two\nlines")
    manifest = prepare_user(path, "text", small.data / "tokenizer", tmp_path / "book")
    assert (manifest.documents, manifest.heldout) == (1, 0)


def test_plain_text_that_is_not_utf8_names_the_line(small: Small, tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_bytes(b"one\ntwo \xe9\n")
    with pytest.raises(BadRowError, match=r"book\.txt:2: not UTF-8"):
        prepare_user(path, "text", small.data / "tokenizer", tmp_path / "book")


@pytest.mark.parametrize(("name", "kind"), [("none.jsonl", "text"), ("empty.jsonl", "text"), ("a.txt", "sft")])
def test_unusable_files_are_refused(small: Small, tmp_path: Path, name: str, kind) -> None:
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        prepare_user(tmp_path / name, kind, small.data / "tokenizer", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_failed_preparation_keeps_the_previous_one(small: Small, tmp_path: Path) -> None:
    path, out = tmp_path / "rows.jsonl", tmp_path / "out"
    path.write_text(json.dumps(GOOD["text"]) + "\n")
    before = prepare_user(path, "text", small.data / "tokenizer", out)
    path.write_text("broken\n")
    with pytest.raises(BadRowError):
        prepare_user(path, "text", small.data / "tokenizer", out)
    assert Corpus(out).manifest == before
