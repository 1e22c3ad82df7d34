"""Ids of texts by their words: the library's ids of the whole text, for every kind of tokenizer that is taken."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import pytest
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from stages.data.tokens import word_cache
from stages.data.tokens.word_cache import WordCache

BITS = (
    *("a", " the", "It's", "'s", "'LL", "_", "-", ".", "!", "/", "1", "12", "<tool>", "\x00", "-_"),
    *(" ", "  ", "\n", " \n", "\r\n", "\t", "\x1c", "\x85", "\u00a0", "\u2003", "\u180e", "\u200b", "\ufeff"),
    *("é", "e\u0301", "\u0301", "Ω", "\u212b", "ﬀ", "中", "文", "ا", "ก็", "😀", "²", "Ⅻ"),
)
Cut: TypeAlias = pre_tokenizers.PreTokenizer


def split(*patterns: str) -> Cut:
    parts = [pre_tokenizers.Split(Regex(one), "isolated") for one in patterns]
    return pre_tokenizers.Sequence([*parts, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def gpt2(*before: Cut) -> Cut:
    return pre_tokenizers.Sequence([*before, pre_tokenizers.ByteLevel(add_prefix_space=False)])


TAKEN: dict[str, Callable[[], Cut]] = {
    "GPT-2": lambda: pre_tokenizers.ByteLevel(add_prefix_space=False),
    "digits alone": lambda: gpt2(pre_tokenizers.Digits(individual_digits=True)),
    "runs of digits": lambda: gpt2(pre_tokenizers.Digits(individual_digits=False)),
    **{f"pattern {number}": partial(split, one) for number, one in enumerate(word_cache.PATTERNS)},
    "cut before": lambda: split(*word_cache.CUTTERS, word_cache.PATTERNS[1]),
}


def texts(draw: random.Random, count: int) -> list[str]:
    return ["".join(draw.choice(BITS) for _ in range(draw.randrange(30))) for _ in range(count)]


def trained(cut: Cut, normalizer: normalizers.Normalizer | None = None) -> Tokenizer:
    """Merges within the pieces that it cuts, marks of its own, and a template around a text."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = cut
    if normalizer is not None:
        made.normalizer = normalizer
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=700, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator(texts(random.Random(0), 200), trainer)
    made.add_tokens([AddedToken("<tool>", special=False)])
    made.add_special_tokens([AddedToken("<s>", special=True)])
    begin = ("<s>", made.token_to_id("<s>"))
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[begin])
    made.encode_special_tokens = True
    return made


def library(made: Tokenizer) -> Callable[[Sequence[str]], list[list[int]]]:
    return lambda some: [one.ids for one in made.encode_batch_fast(some, add_special_tokens=False)]


@pytest.mark.parametrize("name", TAKEN)
def test_the_ids_of_the_words_are_those_of_the_text(name: str) -> None:
    for normalizer in (None, normalizers.NFC()):
        made, draw = trained(TAKEN[name](), normalizer), random.Random(1)
        assert word_cache.supports(made)
        found = WordCache(library(made), np.dtype("<u2"))
        for _ in range(12):
            some = texts(draw, 15) * 3
            wanted = [np.array(ids, dtype="<u2").tobytes() for ids in library(made)(some)]
            assert found.encode(some) == wanted
        assert found._entries, "words were looked up"


def test_words_are_kept_up_to_a_number_and_a_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_cache, "MAX_ENTRIES", 8)
    made = trained(TAKEN["GPT-2"]())
    found = WordCache(library(made), np.dtype("<i4"))
    for number in range(20):
        some = [f"one two {number} " + "x" * 40] * 3
        assert found.encode(some) == [np.array(ids, "<i4").tobytes() for ids in library(made)(some)]
        assert len(found._entries) <= 8
        assert max(map(len, found._entries)) <= word_cache.MAX_KEY


@pytest.mark.parametrize("name", TAKEN)
def test_long_texts_are_encoded_in_parts_and_have_the_ids_of_the_whole(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library takes a hundred bytes for each character that it is given at once."""
    monkeypatch.setattr(word_cache, "MAX_TEXT", 40)
    for normalizer in (None, normalizers.NFC()):
        made, draw, given = trained(TAKEN[name](), normalizer), random.Random(2), list[str]()
        encode = library(made)

        def counted(some: Sequence[str], given: list[str] = given, encode: Any = encode) -> list[list[int]]:
            given.extend(some)
            found: list[list[int]] = encode(some)
            return found

        found = WordCache(counted, np.dtype("<u2"))
        for _ in range(30):
            some = ["".join(texts(draw, 20)), "a word " * 30, "".join(texts(draw, 2))]
            given.clear()
            assert found.encode(some) == [np.array(ids, dtype="<u2").tobytes() for ids in encode(some)]
            assert max(map(len, given), default=0) < 200, "of some hundreds of characters"


def test_texts_of_new_words_alone_and_without_a_border_go_to_the_library_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(word_cache, "MAX_TEXT", 50)
    made, given = trained(TAKEN["GPT-2"]()), list[str]()
    found = WordCache(lambda some: given.extend(some) or library(made)(some), np.dtype("<u2"))
    for some in (["all of it new"], ["tobeornottobe" * 5], []):
        given.clear()
        found.encode(some)
        assert given == some


def changed(**parts: object) -> Tokenizer:
    made = trained(TAKEN["GPT-2"]())
    for name, part in parts.items():
        setattr(made, name, part)
    return made


def with_token(word: str, **how: bool) -> Tokenizer:
    made = trained(TAKEN["GPT-2"]())
    made.add_tokens([AddedToken(word, **how)])
    return made


NOT_TAKEN: dict[str, Callable[[], Tokenizer]] = {
    "another model": lambda: changed(model=models.WordLevel({"a": 0}, unk_token="a")),
    "dropout": lambda: changed(model=models.BPE(dropout=0.1)),
    "a normalizer that changes spaces": lambda: changed(normalizer=normalizers.Replace(" ", "▁")),
    "lower case": lambda: changed(normalizer=normalizers.Lowercase()),
    "Metaspace": lambda: changed(pre_tokenizer=pre_tokenizers.Metaspace()),
    "a space put before": lambda: changed(pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=True)),
    "no cut at all": lambda: changed(pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)),
    "digits alone, and no cut": lambda: changed(pre_tokenizer=split(word_cache.CUTTERS[0])),
    "another pattern": lambda: changed(pre_tokenizer=split(word_cache.PATTERNS[0], r"\w+ \w+")),
    "a pattern inverted": lambda: changed(
        pre_tokenizer=pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(word_cache.PATTERNS[1]), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ])
    ),
    "the text twice": lambda: changed(post_processor=processors.TemplateProcessing(single="$A $A")),
    "a token with a space": lambda: with_token("a b"),
    "a token that takes spaces": lambda: with_token("<x>", lstrip=True),
    "a token that stands alone": lambda: with_token("<x>", single_word=True),
}  # fmt: skip


@pytest.mark.parametrize("name", NOT_TAKEN)
def test_a_tokenizer_that_may_go_over_a_cut_is_not_taken(name: str) -> None:
    assert not word_cache.supports(NOT_TAKEN[name]())
