"""The token that a tokenizer gives to what it has no token for (`<unk>`, `[UNK]`): which it is, if texts can become it.

A byte-level tokenizer with all bytes, and one that falls back to bytes, have a token for everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, pre_tokenizers

from stages.data.tokens.tokenizer_json import TokenizerJson
from stages.errors import UserError

NEVER = {0xC0, 0xC1, *range(0xF5, 0x100)}  # bytes that no UTF-8 has; ByteLevel writes them as the characters themselves


def of(tokenizer: Tokenizer, found: TokenizerJson) -> int | None:
    """The id that texts become where the tokenizer, of this file, has no token for them.

    None where it has one for everything.
    """
    return None if _missing(tokenizer, found) is None else _unknown(tokenizer, found)


def refuse_lost(tokenizer: Tokenizer, found: TokenizerJson, at: Path) -> None:
    """Raise UserError for a tokenizer that has neither a token for everything nor one for what is unknown.

    `tokenizers` then leaves out of a text what it has no token for, or fails.
    """
    if (missing := _missing(tokenizer, found)) is not None and _unknown(tokenizer, found) is None:
        raise UserError(
            f"{at}: model: no token for {missing}, and no unknown token (found {found.model.unk_token!r}): texts would "
            "lose what has no token, without a trace. Train it with the whole alphabet of bytes "
            "(`initial_alphabet=ByteLevel.alphabet()`), or give it an `unk_token` that is in its vocabulary."
        )


def _unknown(tokenizer: Tokenizer, found: TokenizerJson) -> int | None:
    if found.model.unk_id is not None:
        return found.model.unk_id
    return None if found.model.unk_token is None else tokenizer.model.token_to_id(found.model.unk_token)


def _missing(tokenizer: Tokenizer, found: TokenizerJson) -> str | None:
    """What has no token, in words; None where everything has.

    WordPiece gives up on long words, WordLevel knows whole words only.
    """
    missing: str | None = "some texts"
    for words in _writings_of_bytes(found) if found.model.type in ("BPE", "Unigram", None) else ():
        if (word := next((one for one in words if tokenizer.model.token_to_id(one) is None), None)) is None:
            return None
        missing = f"the byte that is written {word!r}"
    return missing


def _writings_of_bytes(found: TokenizerJson) -> Iterator[Iterable[str]]:
    """The ways in which the tokenizer writes bytes: of each, the tokens of all bytes, in all places of a word."""
    model = found.model
    parts = [*_parts(found.normalizer, "normalizers"), *_parts(found.pre_tokenizer, "pretokenizers")]
    if any(part.get("type") == "ByteLevel" for part in parts):
        begins, ends = {"", model.continuing_subword_prefix or ""}, {"", model.end_of_word_suffix or ""}
        alphabet = sorted(set(pre_tokenizers.ByteLevel.alphabet()) - set(map(chr, NEVER)))
        yield (f"{begin}{byte}{end}" for byte in alphabet for begin, end in product(begins, ends))
    if model.byte_fallback:
        yield (f"<0x{byte:02X}>" for byte in range(256) if byte not in NEVER)


def _parts(part: dict[str, Any] | None, name: str) -> Iterator[dict[str, Any]]:
    """A part of a tokenizer and, where it is a sequence, its parts."""
    if part is not None:
        yield part
        for one in part.get(name) or ():
            yield from _parts(one, name)
