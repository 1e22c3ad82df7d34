"""How much of a corpus its tokenizer has no token for: counted where it is encoded, and refused where it is too much.

Everything that became the unknown token is the same token, so a model learns nothing of the text there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from stages.data.spec import FOLDER, CorpusSpec
from stages.errors import UserError
from stages.store import json_file

if TYPE_CHECKING:
    from stages.data.tokens.encode import Encoded
    from stages.data.tokens.tokenizer import Tokenizer

# SentencePiece leaves 0.05% of the characters of the text that it is made for without a token (`character_coverage`),
# which at four characters a token is 0.2% of the tokens. The tokenizer was not made for a text with more.
MOST = Fraction(2, 1000)


class Unknown(json_file.Strict):
    """What the tokenizer has no token for: `tokens` of all `of` that were read are its unknown `token`.

    They are in so many `documents`; `first` is the file and line (or row) of the first, where documents are rows.
    Duplicates that were left out count too.
    """

    token: str
    tokens: Annotated[int, Field(ge=1)]
    of: Annotated[int, Field(ge=1)]
    documents: Annotated[int, Field(ge=1)]
    first: str | None = None


class UnknownTokensError(UserError):
    """More of a corpus is unknown to its tokenizer than its spec allows."""


@dataclass(frozen=True)
class Found:
    """Tokens that are unknown, the documents that have any, and the line of the first, which is 0 for none."""

    tokens: int = 0
    documents: int = 0
    line: int = 0

    @property
    def numbers(self) -> tuple[int, int, int]:
        """As a run keeps them."""
        return self.tokens, self.documents, self.line

    def __add__(self, other: Found) -> Found:
        return Found(self.tokens + other.tokens, self.documents + other.documents, self.line or other.line)


def count(encoded: Encoded, token: int | None, lines: Sequence[int]) -> Found:
    """What is the unknown `token` in documents, each of which is from one of the `lines`."""
    places = np.zeros(0, dtype=np.int64) if token is None else np.flatnonzero(encoded.tokens == token)
    if not len(places):
        return Found()
    documents = np.unique(np.searchsorted(np.cumsum(encoded.lengths), places, side="right"))
    return Found(len(places), len(documents), lines[int(documents[0])])


def of(found: Found, tokenizer: Tokenizer, tokens: int, first: str | None = None) -> Unknown | None:
    """What was found among so many `tokens`, as manifests have it; None where nothing is unknown."""
    if tokenizer.unknown is None or not found.tokens:
        return None
    word = tokenizer.word(tokenizer.unknown)
    return Unknown(token=word, tokens=found.tokens, of=tokens, documents=found.documents, first=first)


def refuse(corpus: CorpusSpec, found: Unknown | None, kept: str = "") -> None:
    """Raise UnknownTokensError where more is unknown than the spec allows; `kept` says what is left of the work."""
    most = MOST if corpus.unknown is None else corpus.unknown
    if found is None or found.tokens <= most * found.of:
        return
    limit = f"{float(100 * most):g}%" + ("" if corpus.unknown is not None else " by default")
    raise UnknownTokensError(
        f"{FOLDER / corpus.corpus}.yaml: unknown: found {shown(found)}; allowed: {limit}, since a "
        "model learns this token in place of the text. Take a tokenizer that has tokens for these texts, or leave them "
        f"out; if it is meant, write `unknown: {min(100, 100 * found.tokens // found.of + 1)}%` into the spec.{kept}"
    )


def shown(found: Unknown) -> str:
    """How much is unknown, in words."""
    share = f"{100 * found.tokens / found.of:.2g}%"
    first = f", first in {found.first}" if found.first else ""
    return f"{share} of the tokens ({found.tokens:,}, in {found.documents:,} documents{first}) are {found.token!r}"
