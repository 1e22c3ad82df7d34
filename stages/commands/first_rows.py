"""What the first rows of a user's files say about how they are read, a line for each notice."""

from __future__ import annotations

from collections.abc import Iterator

from stages.data import spec, special_text, unread
from stages.data.tokenizer import of_corpus
from stages.data.tokenizer_use import FILE
from stages.store.layout import Layout


def notices(layout: Layout, name: str) -> Iterator[str]:
    """Of a prepared corpus: columns that are not read, special tokens' words in plain text."""
    declared = spec.load(layout.root, name, declared=False)
    if declared.builder != "file":
        return
    words = of_corpus(layout.corpus(name), layout.corpus(spec.TOKENIZER) / FILE).special_words
    yield from filter(None, (unread.said(layout.root, declared), special_text.said(layout.root, declared, words)))
