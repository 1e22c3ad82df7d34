r"""Ids of texts, word by word: most words of a text have come before, and their ids are kept.

Byte-level tokenizers cut a text before a space that follows a letter, a digit or a punctuation mark, and each piece
becomes ids by itself. So a text may be cut there first, and the ids of its parts put together are the text's. That is
certain only where all of this is so, and no other tokenizer is taken (`can`):

- The model is BPE without dropout, which sees one piece at a time.
- Pieces are cut by one of `PATTERNS`, as published tokenizers have them. No alternative of these has a space behind
  another character that is no white space, so none goes over the cut; and none looks back, or ahead from such a
  character. `Digits` and `CUTTERS` before it only cut more.
- The normalizer, if any, is NFC or NFD, which change nothing over the border before a space (Unicode Standard Annex
  #15: a space is a starter that does not compose).
- Added tokens, which are looked for in the whole text, have no white space in them, and those that texts may write
  take none from beside them.
- What stands around a text (the post-processor) is a template with the text once.

The ids of each part are the library's own.
"""

from __future__ import annotations

import json
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
MARKS = frozenset(map(chr, range(0x21, 0x7F)))  # what ASCII prints but the space
FIRST, LAST = "\ud800", "\ud801"  # before the name of a part that begins, or ends, a text; no text has them
KEPT = 1 << 17  # parts whose ids are kept
SHORT = 32  # characters of such a part
LONG = 1 << 20  # characters of a text that is not cut: it would be many strings at once


class Words:
    """The ids of parts that have come before. `ids` gives those of texts by the library, `dtype` is what is stored."""

    def __init__(self, ids: Callable[[Sequence[str]], Iterable[list[int]]], dtype: np.dtype[Any]) -> None:
        self._ids, self._dtype = ids, dtype
        self._known: dict[str, bytes] = {}

    def encode(self, texts: Sequence[str]) -> list[bytes]:
        """The ids of each text, as they are stored. What came before changes how long it takes, and nothing else."""
        if max(map(len, texts), default=0) > LONG:
            return self._stored(texts)
        rows = self._rows(texts)
        fresh = set(chain.from_iterable(rows)).difference(self._known)
        if 2 * len(fresh) > sum(map(len, rows)):
            return self._stored(texts)
        if len(self._known) + len(fresh) > KEPT:
            self._known.clear()
            fresh = set(chain.from_iterable(rows))
        named = list(fresh)
        self._known |= zip(named, self._stored(list(map(_text, named))), strict=True)
        found = [b"".join(map(self._known.__getitem__, row)) for row in rows]
        for name in named:
            if len(name) > SHORT:
                del self._known[name]
        return found

    def _rows(self, texts: Sequence[str]) -> list[list[str]]:
        """The names of each text's parts: what stands behind the space at which a part begins.

        The first one is marked, since it has no such space, and so is one that ends in white space, which the end of
        the text decides about.
        """
        rows = [text.split(" ") for text in texts]
        for row in rows:
            row[0] = FIRST + row[0]
        fresh = set(chain.from_iterable(rows)).difference(self._known)  # what is kept can be cut behind
        whole = {word for word in fresh if not _closed(word)}
        return [row if whole.isdisjoint(row) else _joined(row, whole) for row in rows] if whole else rows

    def _stored(self, texts: Sequence[str]) -> list[bytes]:
        return stored(self._ids(texts), self._dtype)


def stored(ids: Iterable[list[int]], dtype: np.dtype[Any]) -> list[bytes]:
    """Lists of ids as they are stored."""
    return [array(dtype.char, one).tobytes() for one in ids]


def can(tokenizer: Tokenizer) -> bool:
    """Whether the ids of a text's parts are the ids of the text."""
    return (
        isinstance(tokenizer.model, models.BPE)
        and tokenizer.model.dropout is None
        and _plain_normalizer(_said(tokenizer.normalizer))
        and _cuts_before_spaces(_said(tokenizer.pre_tokenizer))
        and _text_once(_said(tokenizer.post_processor))
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


def _closed(word: str) -> bool:
    """Whether a tokenizer cuts between a word and a space behind it."""
    return (end := word[-1:]) in MARKS or end.isalnum()


def _text(name: str) -> str:
    """A part, by its name."""
    name = name.removeprefix(LAST)
    return name[1:] if name.startswith(FIRST) else f" {name}"


def _said(part: Any) -> dict[str, Any]:
    """A part of a tokenizer as tokenizer.json has it; empty where there is none."""
    return {} if part is None else json.loads(part.__getstate__())


def _plain_normalizer(said: dict[str, Any]) -> bool:
    return not said or said["type"] in ("NFC", "NFD")


def _cuts_before_spaces(said: dict[str, Any]) -> bool:
    parts = said["pretokenizers"] if said.get("type") == "Sequence" else [said]
    *before, last = parts or [{}]
    if last.get("type") != "ByteLevel" or last["add_prefix_space"]:
        return False
    patterns = [one["pattern"].get("Regex") for one in before if one["type"] == "Split" and _isolates(one)]
    digits = sum(one["type"] == "Digits" for one in before)
    known = len(patterns) + digits == len(before) and set(patterns) <= {*PATTERNS, *CUTTERS}
    return known and (last["use_regex"] or not set(PATTERNS).isdisjoint(patterns))


def _isolates(split: dict[str, Any]) -> bool:
    return split["behavior"] == "Isolated" and not split["invert"]


def _text_once(said: dict[str, Any]) -> bool:
    match said.get("type", "ByteLevel"):
        case "ByteLevel":  # changes offsets alone
            return True
        case "TemplateProcessing":
            return sum("Sequence" in one for one in said["single"]) == 1
        case "Sequence":
            return all(map(_text_once, said["processors"]))
        case _:
            return False


def _apart(token: Any) -> bool:
    stands_alone = token.special or not (token.lstrip or token.rstrip or token.single_word)
    return stands_alone and not any(map(str.isspace, token.content))
