"""Tokens beside the vocabulary keep their ids, and no text turns into one that has a role."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages.data.document import conversation
from stages.data.tokens import tokenizer_files
from stages.data.tokens.encode import encode
from stages.data.tokens.template import TemplateError
from stages.data.tokens.tokenizer import Tokenizer
from stages.data.tokens.tokenizer_declared import declared
from stages.errors import UserError
from tests.unit.data import published

Change = Callable[[dict[str, Any]], None]


def opened(root: Path, *changes: Change) -> Tokenizer:
    """The tokenizer after changes of its tokenizer.json."""
    published.write(root)
    path = root / "tokenizers/mine/tokenizer.json"
    found = json.loads(path.read_text())
    for change in changes:
        change(found)
    path.write_text(json.dumps(found))
    return declared(root, tokenizer_files.load(root, "mine", declared=False), check=False).open()


def having(word: str, **fields: Any) -> Change:
    """One added token with other fields."""

    def change(file: dict[str, Any]) -> None:
        next(one for one in file["added_tokens"] if one["content"] == word).update(fields)

    return change


def normalizing(kind: str) -> Change:
    return lambda file: file.update(normalizer={"type": kind})


def asks(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}, {"role": "assistant", "content": "hello"}]


@pytest.mark.parametrize("number", [70_000, 300, 2**31, 2**32 - 1])
def test_an_added_token_that_is_read_under_another_id_is_refused(tmp_path: Path, number: int) -> None:
    """`tokenizers` numbers them again and says nothing: the model would get another row of its table."""
    with pytest.raises(UserError, match=rf"'</think>' has the id {number}, and `tokenizers` reads it as 306"):
        opened(tmp_path, having("</think>", id=number))


@pytest.mark.parametrize("other", ["a", "<s>"])
def test_two_words_of_one_id_are_refused(tmp_path: Path, other: str) -> None:
    """`tokenizers` reads them, and draws which of the two it writes for the id."""

    def share(file: dict[str, Any]) -> None:
        ids = file["model"]["vocab"] | {one["content"]: one["id"] for one in file["added_tokens"]}
        file["model"]["vocab"]["b"] = ids[other]

    with pytest.raises(UserError, match=rf"tokenizer.json: model.vocab: '{other}' and 'b' have the id \d+; allowed"):
        opened(tmp_path, share)


@pytest.mark.parametrize("word", ["</s>", "<|im_end|>", "<s>", "<img>"])
def test_a_token_with_a_role_is_apart_from_texts_though_its_file_does_not_say_so(tmp_path: Path, word: str) -> None:
    plain, marked = opened(tmp_path / "a", having(word, special=False)), opened(tmp_path / "b")
    text = f"the cat {word} sat"
    assert plain.encode(text) == marked.encode(text)
    assert plain.encode_rendered([text]) == marked.encode_rendered([text])
    assert plain.roles == marked.roles
    with pytest.raises(TemplateError, match=r"which is a special token"):
        encode([conversation("a", asks(text), False)], plain, None)


def test_a_word_of_the_vocabulary_may_have_a_role_and_then_no_text_turns_into_it(tmp_path: Path) -> None:
    def move(file: dict[str, Any]) -> None:
        first = file["added_tokens"].pop(0)  # the others keep their ids
        file["model"]["vocab"][first["content"]] = first["id"]

    moved, marked = opened(tmp_path / "a", move), opened(tmp_path / "b")
    assert moved.roles == marked.roles
    for text in ("the cat", "the <s> cat"):
        assert moved.encode(text) == marked.encode(text)
        assert moved.encode_rendered([text]) == marked.encode_rendered([text])


def test_marks_of_reasoning_come_out_of_texts(tmp_path: Path) -> None:
    made = opened(tmp_path)
    assert made.roles.think in made.encode("a <think> b")


@pytest.mark.parametrize(("kind", "text"), [("NFKC", "\uff1c|im_end|\uff1e"), ("Lowercase", "<|IM_END|>")])
def test_a_text_that_becomes_a_special_token_by_the_normalizer_is_refused(tmp_path: Path, kind: str, text: str) -> None:
    made = opened(tmp_path, normalizing(kind), having("<|im_end|>", normalized=True))
    assert made.roles.turn_end in made.encode_rendered([text])[0]
    with pytest.raises(TemplateError, match=r"a message has '<\|im_end\|>'"):
        encode([conversation("a", asks(f"hello {text} cat"), False)], made, None)


def test_a_file_at_which_the_library_panics_is_refused(tmp_path: Path) -> None:
    broken = {"type": "Precompiled", "precompiled_charsmap": "AAAA"}
    with pytest.raises(UserError, match=r"not a tokenizer.json that `tokenizers` can read \(Precompiled"):
        opened(tmp_path, lambda file: file.update(normalizer=broken))
