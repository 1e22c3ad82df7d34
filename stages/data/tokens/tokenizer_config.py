"""What the files next to tokenizer.json would make of it in transformers.

Here tokenizer.json alone says how texts are cut. transformers also reads tokenizer_config.json, and without an
`added_tokens_decoder` in it special_tokens_map.json and added_tokens.json (tokenization_utils_base and _fast of 4.57).
Some of what they say gives other ids, so a model would be trained on some and be served with others. Such a folder is
refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stages.data.tokens.tokenizer import Tokenizer, prefixed
from stages.data.tokens.tokenizer_files import ADDED, CONFIG, NAMED, word_of
from stages.errors import UserError

DECODER, PREFIX, SPLIT = "added_tokens_decoder", "add_prefix_space", "split_special_tokens"
LISTS = ("additional_special_tokens", "extra_special_tokens")
FLAGS = ("lstrip", "rstrip", "single_word")


def refuse_other_ids(made: Tokenizer, files: Mapping[str, dict[str, Any]], folder: Path) -> None:
    """Raise UserError where transformers would cut otherwise. `made` has no roles yet; `files` by name, as read."""
    config = files[CONFIG]
    found = [(CONFIG, one) for one in _of_config(config, made)]
    found += [(CONFIG, one) for one in _of_names(config, made)]
    if DECODER not in config:
        found += [(NAMED, one) for one in _of_names(files[NAMED], made)]
        found += [(ADDED, one) for one in _of_ids(files[ADDED], made)]
    for name, why in found:
        raise UserError(
            f"{folder / name}: {why}, so transformers would cut texts otherwise than tokenizer.json says. Correct one "
            "of the two, or take the files that were published together."
        )


def _of_config(config: Mapping[str, Any], made: Tokenizer) -> Iterator[str]:
    if config.get(SPLIT):
        yield f"{SPLIT}: found {config[SPLIT]!r}; allowed: false"
    wanted, given = prefixed(made.inner), config.get(PREFIX, False)
    if isinstance(given, bool) and wanted is not None and wanted != given:
        found = config.get(PREFIX, "nothing")
        yield f"{PREFIX}: found {found!r}; allowed: {wanted!r} (transformers 4 goes by this file)"
    entries = config.get(DECODER)
    for number, entry in entries.items() if isinstance(entries, dict) else ():
        word = word_of(entry)
        if word is None or str(made.inner.token_to_id(word)) != number:
            yield f"{DECODER}.{number}: found {word!r}, whose id is {made.inner.token_to_id(word or '')}"
        else:
            yield from _of_word(f"{DECODER}.{number}", entry, made)


def _of_names(config: Mapping[str, Any], made: Tokenizer) -> Iterator[str]:
    """Special tokens by name: `bos_token` and whatever else is called so, and lists of further ones."""
    for key, value in config.items():
        entries: Any = []
        if key in LISTS:
            if value and not isinstance(value, dict | list):
                yield f"{key}: found {value!r:.80}, no list of tokens"
                continue
            entries = value.values() if isinstance(value, dict) else value or []
        elif key.endswith("_token"):
            entries = [value]
        for entry in entries:
            yield from _of_word(key, entry, made)


def _of_ids(ids: Mapping[str, Any], made: Tokenizer) -> Iterator[str]:
    for word, number in ids.items():
        if made.inner.token_to_id(word) != number:
            yield f"{word!r}: found {number!r}, where its id is {made.inner.token_to_id(word)}"
        else:
            yield from _of_word(repr(word), word, made)


def _of_word(key: str, entry: Any, made: Tokenizer) -> Iterator[str]:
    """One special token, a text or an object with flags: an added token, or one that no text turns into."""
    word = word_of(entry)
    if word is None:
        return
    number = made.inner.token_to_id(word)
    added = made.inner.get_added_tokens_decoder().get(number) if number is not None else None
    if number is None:
        yield f"{key}: {word!r} is no token of tokenizer.json, and would be given a new id"
    elif added is None and number in made.encode(word):
        yield f"{key}: {word!r} is an ordinary word of tokenizer.json, and would be a special token"
    elif added is not None and isinstance(entry, dict):
        flags = (*FLAGS, "normalized") if made.inner.normalizer is not None and key.startswith(DECODER) else FLAGS
        wrong = [flag for flag in flags if flag in entry and entry[flag] != getattr(added, flag)]
        if wrong:
            yield f"{key}: {word!r} has {wrong[0]} {entry[wrong[0]]!r}, in tokenizer.json {getattr(added, wrong[0])!r}"
