"""Words of special tokens in plain text, where they are letters: a model learns to write them, and none ends a text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from stages.data.files import inputs, pieces, records, user
from stages.data.spec import CorpusSpec
from stages.data.turns import RowError
from stages.printable import first_few, printable

ROWS = 100  # of the first file
MOST = 4  # words in a message
BETWEEN = "<|endoftext|>"  # what files of text have between documents since GPT-2, whatever the tokenizer


def said(root: Path, corpus: CorpusSpec, special: Iterable[str]) -> str:
    """A sentence about them, as the first documents have them; "" where there are none. Conversations refuse them."""
    if corpus.builder != "file" or corpus.kind != "text":
        return ""
    known = {*special, BETWEEN}
    marks = [{word for word in known if word in text} for text in islice(_texts(root, corpus), ROWS)]
    found = Counter(word for some in marks for word in some)
    words = [printable(repr(word)) for word, _ in sorted(found.items(), key=lambda one: (-one[1], one[0]))]
    if not words:
        return ""
    return (
        f"{sum(map(bool, marks))} of the first {len(marks)} documents have {first_few(words, MOST)} in their text, "
        "which is read as letters: no token that ends a document or a turn. Conversations are kind sft"
    )


def _texts(root: Path, corpus: CorpusSpec) -> Iterator[str]:
    shape = user.shape(corpus)
    for piece in pieces.cut(inputs.find(root, corpus))[:1]:
        for row in user.rows(piece, shape):
            try:
                yield records.text(row.raw, shape)
            except RowError:
                continue
