"""Rows for one call of the tokenizer: texts as they are, or documents of parts and conversations.

A row of text is never made a `Document`: of short ones, that would take longer than cutting them into tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress

from stages.data import records
from stages.data.chat import TemplateError
from stages.data.chats import RowError
from stages.data.document import Document
from stages.data.encode import Encoded, encode_accepted, encode_texts
from stages.data.tokenizer import Tokenizer

Said = str | Document


@dataclass(frozen=True)
class Batch:
    """Rows, each with its line in the piece: all of them texts, or all of them documents."""

    lines: list[int]
    said: list[Said]

    def identities(self) -> list[str]:
        """What each row is known by."""
        return [records.identity_of_text(one) if isinstance(one, str) else one.identity for one in self.said]

    def documents(self) -> list[Document]:
        """The rows as documents."""
        return [records.document_of_text(one) if isinstance(one, str) else one for one in self.said]

    def only(self, kept: Sequence[bool]) -> Batch:
        """The rows that are kept."""
        return Batch(list(compress(self.lines, kept)), list(compress(self.said, kept)))


def refuse_unwritten(document: Document, tokenizer: Tokenizer) -> None:
    """Raise RowError for a conversation that ChatML has no words for, where the tokenizer is the local one."""
    if document.conversation is None or document.parts or tokenizer.template is not None or tokenizer.files:
        return
    allowed = "role and content, as the local tokenizer writes; a tokenizer of specs/tokenizers writes what it can"
    raise RowError("found tools, or a message with more than role and content", allowed)


def encode_batch(batch: Batch, tokenizer: Tokenizer) -> tuple[Encoded, dict[int, TemplateError]]:
    """The tokens of a batch; and of the rows that the chat template cannot write, by place, why it cannot."""
    texts = [one for one in batch.said if isinstance(one, str)]
    if len(texts) == len(batch.said):
        return encode_texts(texts, tokenizer), {}
    return encode_accepted(batch.documents(), tokenizer, None)
