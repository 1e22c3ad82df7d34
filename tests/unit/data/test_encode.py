"""Documents to arrays: in order whatever they are made of, each encoded once whatever is wrong with others."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from stages.data.document import Document, Part, conversation, plain
from stages.data.files.records import document_of_text
from stages.data.tokens import conversations, tokenizer
from stages.data.tokens.encode import encode, encode_accepted, encode_texts
from stages.data.tokens.template import TemplateError
from stages.data.tokens.tokenizer import Tokenizer
from tests.unit.data import published


@pytest.fixture
def opened(tmp_path: Path) -> Tokenizer:
    return published.opened(tmp_path)


def chat(number: int, answer: str = "It is 3.") -> Document:
    turns = [{"role": "user", "content": f"What is {number}?"}, {"role": "assistant", "content": answer}]
    return conversation(f"chat {number}", turns, heldout=False)


def mixed(count: int = 60) -> list[Document]:
    """Conversations, text, and a prompt with its completion, in any order."""
    draw = random.Random(5)
    kinds = (
        chat,
        lambda number: plain(f"text {number}", f"the cat sat on mat {number}", heldout=False),
        lambda number: Document(f"two {number}", (Part("user", False), Part(f" said {number}", True)), heldout=False),
    )
    return [draw.choice(kinds)(number) for number in range(count)]


def test_many_documents_are_each_alone_one_after_the_other(opened: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer, "SLICE", 40)
    monkeypatch.setattr("stages.data.tokens.encode.CHUNK", 7)
    documents = mixed()
    together, alone = encode(documents, opened, None), [encode([document], opened, None) for document in documents]
    assert together.lengths.tolist() == [len(one.tokens) for one in alone]
    assert together.tokens.tolist() == np.concatenate([one.tokens for one in alone]).tolist()
    assert together.supervised.tolist() == np.concatenate([one.supervised for one in alone]).tolist()
    assert together.tokens.dtype == opened.dtype


def test_what_a_template_refuses_is_named_and_the_others_are_encoded_once(
    opened: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered = []
    render = conversations._render
    monkeypatch.setattr(conversations, "_render", lambda *given: rendered.append(given[0].identity) or render(*given))
    documents = mixed()
    bad = [3, 4, 30, 59]
    for place in bad:
        documents[place] = chat(1000 + place, "</s> in an answer")
    found, refused = encode_accepted(documents, opened, None)
    good = [document for place, document in enumerate(documents) if place not in bad]
    chats = [document.identity for document in documents if document.conversation is not None]
    assert sorted(refused) == bad
    assert all(f"chat {1000 + place}" in str(error) for place, error in refused.items())
    assert rendered == chats
    wanted = encode(good, opened, None)
    assert found.tokens.tolist() == wanted.tokens.tolist()
    assert found.lengths.tolist() == wanted.lengths.tolist()
    assert found.supervised.tolist() == wanted.supervised.tolist()
    with pytest.raises(TemplateError, match="chat 1003"):
        encode(documents, opened, None)


def test_where_all_are_refused_nothing_is_left(opened: Tokenizer) -> None:
    found, refused = encode_accepted([chat(1, "</s>"), chat(2, "</s>")], opened, None)
    assert len(refused) == 2
    assert (len(found.tokens), len(found.lengths), len(found.supervised)) == (0, 0, 0)
    assert found.tokens.dtype == opened.dtype


def test_texts_are_cut_as_documents_of_one_text_are(opened: Tokenizer) -> None:
    texts = ["A sum of two.", "é\n", "<eos>", "a " * 300]
    plainly, alike = encode_texts(texts, opened), encode([document_of_text(text) for text in texts], opened, None)
    for name in ("tokens", "lengths", "supervised"):
        assert np.array_equal(getattr(plainly, name), getattr(alike, name)), name
    assert len(encode_texts([], opened).tokens) == 0
