"""What the first rows of a user's files say about how they are read, a line for each notice."""

from __future__ import annotations

from collections.abc import Iterator

from stages.data import spec
from stages.data.files import first_turns, special_text, unread
from stages.data.tokens.tokenizer import of_corpus
from stages.data.tokens.tokenizer_use import FILE
from stages.store.layout import Layout


def notices(layout: Layout, name: str) -> Iterator[str]:
    """Of a prepared corpus: columns that are not read, special tokens' words in plain text, exchanged sides."""
    declared = spec.load(layout.root, name, declared=False)
    if declared.builder != "file":
        return
    words = of_corpus(layout.corpus(name), layout.corpus(spec.TOKENIZER) / FILE).special_words
    root = layout.root
    said = (unread.said(root, declared), special_text.said(root, declared, words), first_turns.said(root, declared))
    yield from filter(None, said)
