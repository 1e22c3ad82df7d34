"""Rows for one call of the tokenizer: texts as they are, or documents of parts and conversations.

A row of text is never made a `Document`: of short ones, that would take longer than cutting them into tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from stages.data.document import Document
from stages.data.draws import ranks
from stages.data.files import records
from stages.data.tokens.encode import Encoded, encode_accepted, encode_texts
from stages.data.tokens.template import TemplateError
from stages.data.tokens.tokenizer import Tokenizer
from stages.data.turns import RowError

Row = str | Document


@dataclass(frozen=True)
class Batch:
    """Rows, each with its line in the piece: all of them texts, or all of them documents."""

    lines: list[int]
    rows: list[Row]

    def identities(self) -> list[str]:
        """What each row is known by."""
        return [records.identity_of_text(one) if isinstance(one, str) else one.identity for one in self.rows]

    def hashes(self, corpus: str) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """The rank of each row in a corpus, and the hash by which it is held out."""
        names = self.identities()
        if all(isinstance(one, str) or one.part_of is None for one in self.rows):
            order, heldout = ranks((corpus, "held out"), names)
            return order, heldout
        return ranks((corpus,), names)[0], ranks(("held out",), [one.origin for one in self.documents()])[0]

    def documents(self) -> list[Document]:
        """The rows as documents."""
        return [records.document_of_text(one) if isinstance(one, str) else one for one in self.rows]

    def only(self, kept: Sequence[bool]) -> Batch:
        """The rows that are kept."""
        return Batch(list(compress(self.lines, kept)), list(compress(self.rows, kept)))


def refuse_unwritten(document: Document, tokenizer: Tokenizer) -> None:
    """Raise RowError for a conversation that ChatML has no words for, where the tokenizer is the local one."""
    if document.conversation is None or document.parts or tokenizer.template is not None or tokenizer.files:
        return
    allowed = "role and content, as the local tokenizer writes; a tokenizer of specs/tokenizers writes what it can"
    raise RowError("found tools, or a message with more than role and content", allowed)


def encode_batch(batch: Batch, tokenizer: Tokenizer) -> tuple[Batch, Encoded, dict[int, TemplateError]]:
    """A batch with its tokens, without the rows that the chat template cannot write; of these, by line, why it cannot.

    A row of several documents that cannot be written in full is left out as a whole.
    """
    texts = [one for one in batch.rows if isinstance(one, str)]
    if len(texts) == len(batch.rows):
        return batch, encode_texts(texts, tokenizer), {}
    encoded, refused = encode_accepted(batch.documents(), tokenizer, None)
    if not refused:
        return batch, encoded, {}
    bad = {batch.lines[number]: refused[number] for number in sorted(refused, reverse=True)}  # the first of each row
    written = batch.only([number not in refused for number in range(len(batch.rows))])
    kept = [line not in bad for line in written.lines]
    return written.only(kept), encoded.only(np.array(kept, dtype=np.bool_)), bad
