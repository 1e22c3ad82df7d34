"""A rendered text that is cut at special tokens has the ids that the library gives it in one piece."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, trainers

from stages.data.tokens import token_boundaries
from tests.unit.data import published

START, END = "<|im_start|>", "<|im_end|>"
PIECES = [
    START,
    END,
    "<s>",
    "<img>",
    "the cat",
    "cat",
    " sat",
    "\n",
    "  ",
    "\u00e9",
    "e\u0301",
    "<|im",
    "_end|>",
    "|>",
    "",
    "HELLO",
]


def unigram() -> Tokenizer:
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    trainer = trainers.UnigramTrainer(vocab_size=60, unk_token="<unk>", show_progress=False)
    made.train_from_iterator(published.TEXTS, trainer)
    return made


def byte_level(normalizer: Any = None) -> Tokenizer:
    made = published.trained()
    if normalizer is not None:
        made.normalizer = normalizer
    return made


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "byte level": byte_level,
    "first blank": unigram,
    "prepended": lambda: byte_level(normalizers.Sequence([normalizers.Prepend("_"), normalizers.Replace(" ", "_")])),
    "stripped": lambda: byte_level(normalizers.Sequence([normalizers.NFKC(), normalizers.Strip()])),
    "lower case": lambda: byte_level(normalizers.Lowercase()),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", [None, "lstrip", "rstrip", "single_word"])
def test_parts_together_have_the_ids_of_the_whole_and_of_every_beginning(kind: str, other: str | None) -> None:
    made = KINDS[kind]()
    made.no_truncation()
    made.no_padding()
    made.add_special_tokens([AddedToken(word, special=True) for word in published.SPECIAL])
    if other is not None:
        made.add_tokens([AddedToken("cat", **{other: True})])

    def ids(text: str) -> list[int]:
        return list(made.encode(text, add_special_tokens=False).ids)

    pattern, draw = token_boundaries.words(made, [START, END]), random.Random(7)
    cuts = 0
    for _ in range(150):
        text = "".join(draw.choices(PIECES, k=draw.randint(0, 12)))
        edges = sorted(draw.randint(0, len(text)) for _ in range(4))
        found = token_boundaries.cut(text, edges, pattern)
        cuts += len(found.parts) - 1
        whole, at = found.joined([ids(part) for part in found.texts])
        assert whole == ids(text)
        for edge, place in zip(edges, at, strict=True):
            before = ids(text[:edge])
            assert place == (len(before) if whole[: len(before)] == before else None), (text, edge)
    assert cuts > 50


@pytest.mark.parametrize(
    "token",
    [AddedToken(START, special=True, lstrip=True), AddedToken(START, special=True, rstrip=True),
     AddedToken(START, special=True, single_word=True), AddedToken(START, special=True, normalized=True),
     AddedToken(START, special=False)],
    ids=["lstrip", "rstrip", "single word", "normalized", "text may write it"],
)  # fmt: skip
def test_a_token_that_takes_from_beside_it_is_no_place_to_cut(token: AddedToken) -> None:
    made = Tokenizer(models.BPE())
    made.add_special_tokens([token]) if token.special else made.add_tokens([token])
    assert token_boundaries.words(made, [START]) is None


@pytest.mark.parametrize("other", [f"{END}\n", f"</s>{END}", "im_end", "|><|im", ">\n", "a<"])
def test_a_word_that_another_token_may_lie_over_is_no_place_to_cut(other: str) -> None:
    made = published.trained()
    assert token_boundaries.words(made, [END]) is not None
    made.add_special_tokens([other])
    assert token_boundaries.words(made, [END]) is None


def test_a_word_that_may_lie_over_itself_is_no_place_to_cut() -> None:
    made = published.trained()
    made.add_special_tokens(["<<x<<"])
    assert token_boundaries.words(made, ["<<x<<"]) is None


def test_a_word_of_letters_is_no_place_to_cut() -> None:
    made = published.trained()
    made.add_special_tokens(["sep"])
    assert token_boundaries.words(made, ["sep"]) is None


@pytest.mark.parametrize("answers", [3, 300])
def test_of_a_long_conversation_little_more_becomes_ids_than_its_text(answers: int) -> None:
    turn = f"{START}user\nWhat is 1 + 2?{END}\n{START}assistant\nIt is 3.{END}\n"
    text = turn * answers
    edges = [
        at for number in range(answers) for at in (number * len(turn) + turn.index("It"), (number + 1) * len(turn) - 1)
    ]
    found = token_boundaries.cut(text, edges, token_boundaries.words(published.trained(), [START, END]))
    assert sum(map(len, found.texts)) < 2 * len(text)
