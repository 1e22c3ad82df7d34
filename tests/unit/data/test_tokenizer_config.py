"""Files beside tokenizer.json by which transformers would cut otherwise are refused; else it cuts the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer as HfTokenizer
from tokenizers import normalizers, pre_tokenizers
from transformers import AutoTokenizer

from stages.data.document import conversation
from stages.data.tokens import tokenizer_files
from stages.data.tokens.encode import encode
from stages.data.tokens.template import TemplateError
from stages.data.tokens.tokenizer import Tokenizer
from stages.data.tokens.tokenizer_declared import declared
from stages.errors import UserError
from tests.unit.data import published
from tests.unit.data.talks import TALK

TEXTS = ("the cat sat", " What is 1 + 2?\n\nIt is 3. ", "user", "caté <think> x")
WORDS = published.trained()
WORDS.no_padding()  # by which transformers gives a token [PAD] an id of its own
BOS = WORDS.token_to_id("<s>")


def entry(word: str = "<s>", **flags: bool) -> dict[str, Any]:
    plain = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": False, "special": True}
    return {"content": word, **plain, **flags}


# What tokenizer_config.json has besides, what other files have, and the message: none where transformers cuts the same.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "nothing": ({}, {}, ""),
    "a known token named again": ({"additional_special_tokens": ["<|im_start|>"]}, {}, ""),
    "a new token": ({"additional_special_tokens": ["<tool>"]}, {}, r"'<tool>' is no token of tokenizer.json"),
    "a new token by a name": ({"extra_special_tokens": {"image_token": "<new>"}}, {}, r"'<new>' is no token of"),
    "a new pad": ({"pad_token": "<pad>"}, {}, r"tokenizer_config.json: pad_token: '<pad>' is no token of"),
    "a word of texts": ({"additional_special_tokens": ["at"]}, {}, r"'at' is an ordinary word of tokenizer.json"),
    "no list of tokens": ({"additional_special_tokens": -1}, {}, r"additional_special_tokens: found -1, no list of t"),
    "no list of tokens by another name": (
        {"extra_special_tokens": True}, {}, r"extra_special_tokens: found True, no list of tokens"),
    "an empty list of tokens": ({"additional_special_tokens": [], "extra_special_tokens": {}}, {}, ""),
    "the same flags": ({"added_tokens_decoder": {str(BOS): entry()}}, {}, ""),
    "another flag": (
        {"added_tokens_decoder": {str(BOS): entry(rstrip=True)}}, {}, r"decoder.\d+: '<s>' has rstrip True, in t"),
    "a flag of a word": ({"bos_token": entry(rstrip=True)}, {}, r"bos_token: '<s>' has rstrip True, in tokenizer"),
    "another word for an id": ({"added_tokens_decoder": {str(BOS): entry("<b>")}}, {}, r"found '<b>', whose id is"),
    "another id for a word": ({"added_tokens_decoder": {"0": entry()}}, {}, rf"er.0: found '<s>', whose id is {BOS}"),
    "words of another file": (
        {}, {"special_tokens_map.json": {"additional_special_tokens": ["<x>"]}}, r"special_tokens_map.json: addition"),
    "words of a file that is not read": (
        {"added_tokens_decoder": {str(BOS): entry()}},
        {"special_tokens_map.json": {"additional_special_tokens": ["<x>"]}}, ""),
    "ids of another file": ({}, {"added_tokens.json": {"the": 7}}, r"added_tokens.json: 'the': found 7, where its "),
    "the ids that there are": ({}, {"added_tokens.json": {"<s>": BOS}}, ""),
    "special tokens as text": ({"split_special_tokens": True}, {}, r"split_special_tokens: found True; allowed: false"),
    "a blank in front": ({"add_prefix_space": True}, {}, r"add_prefix_space: found True; allowed: False"),
    "what is for generation": ({"model_max_length": 4, "padding_side": "left", "add_bos_token": True}, {}, ""),
}  # fmt: skip


def opened(root: Path, tokens: HfTokenizer | str = WORDS, config: dict[str, Any] | None = None) -> Tokenizer:
    published.write(root)
    folder = root / "tokenizers/mine"
    (folder / "tokenizer.json").write_text(tokens if isinstance(tokens, str) else tokens.to_str())
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token": "</s>", **(config or {})}))
    return declared(root, tokenizer_files.load(root, "mine", declared=False), check=False).open()


@pytest.mark.parametrize("name", CASES)
def test_what_transformers_would_cut_otherwise_is_refused(tmp_path: Path, name: str) -> None:
    config, files, message = CASES[name]
    folder = tmp_path / "tokenizers/mine"
    folder.mkdir(parents=True)
    for file, found in files.items():
        (folder / file).write_text(json.dumps(found))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **config}
    if message:
        with pytest.raises(UserError, match=message):
            opened(tmp_path, config=config)
        return
    made, theirs = opened(tmp_path, config=config), AutoTokenizer.from_pretrained(folder)
    assert [made.encode(text) for text in TEXTS] == theirs(list(TEXTS), add_special_tokens=False)["input_ids"]
    rows = encode([conversation("x", TALK, False)], made, None)
    assert rows.tokens.tolist() == theirs.apply_chat_template(TALK)
    assert len(theirs) == made.vocab


def test_a_blank_in_front_goes_out_as_it_came_in(tmp_path: Path) -> None:
    from stages.export.tokenizer import TokenizerOut

    tokens = published.trained()
    tokens.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    with pytest.raises(UserError, match=r"add_prefix_space: found 'nothing'; allowed: True"):
        opened(tmp_path, tokens)
    made = opened(tmp_path, tokens, {"add_prefix_space": True})
    for name, data in TokenizerOut(made.inner.to_str(), None, {}, made.roles).files(64).items():
        (tmp_path / name).write_bytes(data)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert [made.encode(text) for text in TEXTS] == theirs(list(TEXTS), add_special_tokens=False)["input_ids"]


def test_a_tokenizer_that_draws_its_tokens_is_refused(tmp_path: Path) -> None:
    found = json.loads(WORDS.to_str())
    found["model"]["dropout"] = 0.1
    with pytest.raises(UserError, match=r"tokenizer.json: model.dropout: found 0.1; allowed: null"):
        opened(tmp_path, json.dumps(found))


def test_a_role_that_is_a_word_of_the_vocabulary_alone_is_refused(tmp_path: Path) -> None:
    found = json.loads(WORDS.to_str())
    kept = [token for token in found["added_tokens"] if token["content"] != "<|im_end|>"]
    found["model"]["vocab"]["<|im_end|>"] = BOS  # in front of the others
    numbered = [{**token, "id": BOS + 1 + place} for place, token in enumerate(kept)]
    with pytest.raises(UserError, match=r"roles.turn_end: '<\|im_end\|>', which is in the vocabulary and no added t"):
        opened(tmp_path, json.dumps({**found, "added_tokens": numbered, "post_processor": None}))


def test_an_answer_whose_edge_the_normalizer_takes_away_is_refused(tmp_path: Path) -> None:
    """The line break before it would be cut away from what stands before it, and so be learned."""
    tokens = published.trained()
    tokens.normalizer = normalizers.Strip()
    with pytest.raises(TemplateError, match=r"leaves out what stands before the edge of an answer, at 'assistant\\n'"):
        encode([conversation("x", TALK, False)], opened(tmp_path, tokens), None)
