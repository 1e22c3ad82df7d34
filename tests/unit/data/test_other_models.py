"""Tokenizers whose model is not BPE: the library's own ids, and an exact mask."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from stages.data.tokens import tokenizer_declared, tokenizer_files
from stages.data.tokens.encode import encode, encode_texts
from tests.unit.data import published
from tests.unit.data.conversations import whole
from tests.unit.data.talks import learned

TALK = [
    {"role": "user", "content": "What is 1 + 2?"}, {"role": "assistant", "content": "it is 3."},
    {"role": "user", "content": "the cat?"}, {"role": "assistant", "content": "the cat sat"},
]  # fmt: skip


def word_piece() -> Tokenizer:
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.train_from_iterator(published.TEXTS, trainers.WordPieceTrainer(special_tokens=["[UNK]"], show_progress=False))
    return made


def unigram() -> Tokenizer:
    made = Tokenizer(models.Unigram())
    made.normalizer, made.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Metaspace(prepend_scheme="first")
    made.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=80, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False)
    made.train_from_iterator(published.TEXTS, trainer)
    return made


@pytest.mark.parametrize("make", [word_piece, unigram])
def test_ids_are_the_librarys_and_answers_alone_are_learned(tmp_path: Path, make: Callable[[], Tokenizer]) -> None:
    published.write(tmp_path)
    theirs = make()
    theirs.add_special_tokens([AddedToken(word, special=True) for word in published.SPECIAL])
    theirs.add_tokens([AddedToken(word, special=False) for word in ("<think>", "</think>")])
    (tmp_path / "tokenizers/mine/tokenizer.json").write_text(theirs.to_str())
    files = tokenizer_files.load(tmp_path, "mine", declared=False)
    made = tokenizer_declared.declared(tmp_path, files, check=False).open()
    texts = ["the cat sat", "The  CAT\n\n\u00e9 \U0001f600", "hello\n  def f():\n"]
    bos, eos = made.roles.bos, made.roles.eos
    assert encode_texts(texts, made).tokens.tolist() == [
        number for text in texts for number in (bos, *theirs.encode(text, add_special_tokens=False).ids, eos)
    ]
    document = whole(TALK)
    rendered = "<s>" + "".join(f"<|im_start|>{one['role']}\n{one['content']}<|im_end|>\n" for one in TALK)
    assert encode([document], made, None).tokens.tolist() == theirs.encode(rendered, add_special_tokens=False).ids
    assert [said.replace(" ", "") for said in learned(made, document)] == ["itis3.<|im_end|>", "thecatsat<|im_end|>"]
