"""Conversations whose sides seem to be exchanged, or whose answers are all the same: another column was meant."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from stages.data.files import inputs, pieces, records, user
from stages.data.spec import CorpusSpec
from stages.data.tokens.chats import Chat
from stages.data.turns import RowError
from stages.printable import printable

ROWS = 100  # of the first file
FEWEST = 20  # rows from which on equal answers are no accident
LONGEST = 40  # characters of an answer that are compared, and shown


def said(root: Path, corpus: CorpusSpec) -> str:
    """A sentence about them, as the first conversations are; "" where nothing is strange."""
    if corpus.builder != "file" or corpus.kind != "sft":
        return ""
    read, begun, answers = 0, 0, set[str]()
    for chat in islice(_chats(root, corpus), ROWS):  # one at a time: a row may have 16 MiB
        first, last = next((one for one in chat.turns if one.role != "system"), chat.turns[0]), chat.turns[-1]
        read, begun = read + 1, begun + (first.role == "assistant")
        answers.add(str(last.content)[:LONGEST] if last.role == "assistant" else "")
    if begun * 2 > read:
        return (
            f"{begun} of the first {read} conversations begin with an answer, before anything is asked: are the two "
            "sides exchanged?"
        )
    if read >= FEWEST and len(answers) == 1 and (answer := answers.pop()):
        return f"the last answers of the first {read} conversations all begin {printable(repr(answer))}"
    return ""


def _chats(root: Path, corpus: CorpusSpec) -> Iterator[Chat]:
    shape = user.shape(corpus)
    for piece in pieces.cut(inputs.find(root, corpus))[:1]:
        for row in user.rows(piece, shape):
            try:
                found = records.content(row.raw, shape)
            except RowError:
                continue
            if isinstance(found, Chat):
                yield found
