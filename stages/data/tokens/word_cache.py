r"""Ids of texts, word by word: most words of a text have come before, and their ids are kept.

Byte-level tokenizers cut a text before a space that follows a letter, a digit or a punctuation mark, and each piece
becomes ids by itself. So a text may be cut there first, and the ids of its parts put together are the text's. That is
certain only where all of this is so, and no other tokenizer is taken (`supports`):

- The model is BPE without dropout, which sees one piece at a time.
- Pieces are cut by one of `PATTERNS`, as published tokenizers have them. No alternative of these has a space behind
  another character that is no white space, so none goes over the cut; and none looks back, or ahead from such a
  character. `Digits` and `CUTTERS` before it only cut more.
- The normalizer, if any, is NFC or NFD, which change nothing over the border before a space (Unicode Standard Annex
  #15: a space is a starter that does not compose).
- Added tokens, which are looked for in the whole text, have no white space in them, and those that texts may write
  take none from next to them.
- What stands around a text (the post-processor) is a template with the text once.

The ids of each part are the library's own.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, pairwise
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models

_CL100K = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+%s|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*%s|"
    r"%s| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_SHORTENED = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
PATTERNS = (
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",  # GPT-2, and ByteLevel by itself
    _CL100K % r"\p{N}{1,3}",  # GPT-4, Llama 3
    _CL100K % r"\p{N}",  # Qwen 2 and 3
    _O200K % (_SHORTENED, _SHORTENED, r"\p{N}{1,3}"),  # GPT-4o
    _O200K % ("", "", r"\p{N}"),  # Mistral's Tekken
)
CUTTERS = (r"\p{N}", r"\p{N}{1,3}", "[一-龥\u3040-ゟ゠-ヿ]+")
PRINTABLE = frozenset(map(chr, range(0x21, 0x7F)))  # of ASCII, without the space
FIRST, LAST = "\ud800", "\ud801"  # before the key of a part that begins, or ends, a text; no text has them
MAX_ENTRIES = 1 << 17  # parts whose ids are kept
MAX_KEY = 32  # characters of such a part
MAX_TEXT = 1 << 18  # characters that are encoded at once: the library takes a hundred bytes for each
BORDER = re.compile(r"(?<=[!-~\w]) ")  # a space behind a word that is closed


class WordCache:
    """The ids of parts that have come before."""

    def __init__(self, ids: Callable[[Sequence[str]], Iterable[list[int]]], dtype: np.dtype[Any]) -> None:
        """`ids` gives the library's ids of texts, one list a text; `dtype` is the type that they are stored in."""
        self._ids, self._dtype = ids, dtype
        self._entries: dict[str, bytes] = {}

    def encode(self, texts: Sequence[str]) -> list[bytes]:
        """The ids of each text, as `dtype`. What came before changes how long it takes, and nothing else."""
        if max(map(len, texts), default=0) > MAX_TEXT:
            return [b"".join(ids for part in _parts(text) for ids in self._some([part])) for text in texts]
        return self._some(texts)

    def _some(self, texts: Sequence[str]) -> list[bytes]:
        rows = self._rows(texts)
        fresh = set(chain.from_iterable(rows)).difference(self._entries)
        if 2 * len(fresh) > sum(map(len, rows)):
            return self._encode(texts)
        if len(self._entries) + len(fresh) > MAX_ENTRIES:
            self._entries.clear()
            fresh = set(chain.from_iterable(rows))
        keys = list(fresh)
        self._entries |= zip(keys, self._encode(list(map(_text, keys))), strict=True)
        found = [b"".join(map(self._entries.__getitem__, row)) for row in rows]
        for key in keys:
            if len(key) > MAX_KEY:
                del self._entries[key]
        return found

    def _rows(self, texts: Sequence[str]) -> list[list[str]]:
        """The keys of each text's parts: what is behind the space at which a part begins.

        The first one is marked, since it has no such space, and so is one that ends in white space, which the end of
        the text decides about.
        """
        rows = [text.split(" ") for text in texts]
        for row in rows:
            row[0] = FIRST + row[0]
        fresh = set(chain.from_iterable(rows)).difference(self._entries)  # what is kept can be cut behind
        whole = {word for word in fresh if not _closed(word)}
        return [row if whole.isdisjoint(row) else _joined(row, whole) for row in rows] if whole else rows

    def _encode(self, texts: Sequence[str]) -> list[bytes]:
        return to_bytes(self._ids(texts), self._dtype)


def to_bytes(ids: Iterable[list[int]], dtype: np.dtype[Any]) -> list[bytes]:
    """Each list of ids as the bytes of an array of `dtype`. Raises OverflowError for an id that it does not have."""
    return [array(dtype.char, one).tobytes() for one in ids]


def supports(tokenizer: Tokenizer) -> bool:
    """Whether the ids of a text's parts are the ids of the text."""
    return (
        isinstance(tokenizer.model, models.BPE)
        and tokenizer.model.dropout is None
        and _plain_normalizer(_serialized(tokenizer.normalizer))
        and _cuts_before_spaces(_serialized(tokenizer.pre_tokenizer))
        and _text_once(_serialized(tokenizer.post_processor))
        and all(map(_apart, tokenizer.get_added_tokens_decoder().values()))
    )


def _joined(row: list[str], whole: set[str]) -> list[str]:
    """The row with each word of `whole` put together with the one behind it."""
    found, before = list[str](), 0
    for first, last in _stretches([place for place, word in enumerate(row) if word in whole]):
        found += row[before:first]
        mark = LAST if last == len(row) else ""
        found.append(mark + " ".join(row[first : last + 1]))
        before = last + 1
    return found + row[before:]


def _stretches(places: list[int]) -> Iterator[tuple[int, int]]:
    """First and last of places that follow one another, and one behind the last."""
    borders = [0, *(at for at in range(1, len(places)) if places[at] != places[at - 1] + 1), len(places)]
    return ((places[a], places[b - 1] + 1) for a, b in pairwise(borders))


def _parts(text: str) -> Iterator[str]:
    """A long text, cut at borders."""
    at = 0
    while len(text) - at > MAX_TEXT and (border := BORDER.search(text, at + MAX_TEXT)) is not None:
        yield text[at : border.start()]
        at = border.start()
    yield text[at:]


def _closed(word: str) -> bool:
    """Whether a tokenizer cuts between a word and a space behind it."""
    return (end := word[-1:]) in PRINTABLE or end.isalnum()


def _text(key: str) -> str:
    """A part, by its key."""
    key = key.removeprefix(LAST)
    return key[1:] if key.startswith(FIRST) else f" {key}"


def _serialized(part: Any) -> dict[str, Any]:
    """A part of a tokenizer as tokenizer.json has it; empty where there is none."""
    return {} if part is None else json.loads(part.__getstate__())


def _plain_normalizer(part: dict[str, Any]) -> bool:
    """Whether a normalizer changes nothing over the border before a space."""
    return not part or part["type"] in ("NFC", "NFD")


def _cuts_before_spaces(part: dict[str, Any]) -> bool:
    """Whether a pre-tokenizer cuts by one of `PATTERNS`, and otherwise only more."""
    parts = part["pretokenizers"] if part.get("type") == "Sequence" else [part]
    *before, last = parts or [{}]
    if last.get("type") != "ByteLevel" or last["add_prefix_space"]:
        return False
    patterns = [one["pattern"].get("Regex") for one in before if one["type"] == "Split" and _isolates(one)]
    digits = sum(one["type"] == "Digits" for one in before)
    known = len(patterns) + digits == len(before) and set(patterns) <= {*PATTERNS, *CUTTERS}
    return known and (last["use_regex"] or not set(PATTERNS).isdisjoint(patterns))


def _isolates(split: dict[str, Any]) -> bool:
    return split["behavior"] == "Isolated" and not split["invert"]


def _text_once(part: dict[str, Any]) -> bool:
    """Whether a post-processor leaves the ids of a text as they are, once."""
    match part.get("type", "ByteLevel"):
        case "ByteLevel":  # changes only where tokens lie in the text
            return True
        case "TemplateProcessing":
            return sum("Sequence" in one for one in part["single"]) == 1
        case "Sequence":
            return all(map(_text_once, part["processors"]))
        case _:
            return False


def _apart(token: Any) -> bool:
    """Whether an added token (AddedToken) neither has white space nor takes any from next to it."""
    stands_alone = token.special or not (token.lstrip or token.rstrip or token.single_word)
    return stands_alone and not any(map(str.isspace, token.content))
