"""Word n-grams of texts as 128-bit hashes: what decontamination compares.

As in GPT-3 (arXiv 2005.14165, appendix C) text is compared in lower case and without punctuation, by runs of N words;
13 there. Characters of Chinese and Japanese, which have no spaces between words, count as words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from stages.data.document import Document
from stages.data.preparing.hashes import PAIR, Hashes, Pairs

_ALONE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
WORD = re.compile(rf"[{_ALONE}]|[^\W_{_ALONE}]+")
KEPT = 1 << 18  # words whose hashes are kept


class NGrams:
    """Hashes of runs of `words` words: sums of the words' hashes, each times an odd number of its place."""

    def __init__(self, words: int) -> None:
        self.words = words
        digests = [blake3(f"place {place}".encode()).digest(length=16) for place in range(words)]
        table = np.frombuffer(b"".join(digests), dtype="<u8").reshape(-1, 2) | np.uint64(1)
        self._factors = {"first": table[:, 0], "second": table[:, 1]}
        self._known: dict[str, int] = {}
        self._hashes = np.zeros(0, dtype=PAIR)

    def of(self, document: Document) -> Pairs:
        """The n-grams of a document, in order; none of one that has fewer words."""
        words = self._words(document)
        if len(words) < self.words:
            return np.zeros(0, dtype=PAIR)
        found = np.empty(len(words) - self.words + 1, dtype=PAIR)
        for half in ("first", "second"):
            found[half] = self._sums(words, half)
        return found

    def among(self, document: Document, known: Hashes) -> bool:
        """Whether a document has an n-gram of a set."""
        words = self._words(document)
        if len(words) < self.words:
            return False
        first = self._sums(words, "first")
        if not (maybe := known.first(first)).any():
            return False
        pairs = np.empty(int(maybe.sum()), dtype=PAIR)
        pairs["first"], pairs["second"] = first[maybe], self._sums(words, "second")[maybe]
        return bool(known.have(pairs).any())

    def _sums(self, words: Pairs, half: str) -> NDArray[np.uint64]:
        column, count = words[half], len(words) - self.words + 1
        found = np.zeros(count, dtype=np.uint64)
        for place, factor in enumerate(self._factors[half]):
            found += column[place : place + count] * factor  # modulo 2^64
        return found

    def _words(self, document: Document) -> Pairs:
        spelled = [word for text in texts(document) for word in WORD.findall(text.lower())]
        if len(self._known) > KEPT:
            self._known = {}
        fresh = [word for word in dict.fromkeys(spelled) if word not in self._known]
        if fresh:
            kept = self._hashes[: len(self._known)]
            self._known |= {word: len(self._known) + place for place, word in enumerate(fresh)}
            raw = b"".join(blake3(word.encode()).digest(length=16) for word in fresh)
            self._grow(kept, np.frombuffer(raw, dtype=PAIR))
        return self._hashes[[self._known[word] for word in spelled]]

    def _grow(self, kept: Pairs, fresh: Pairs) -> None:
        """The array is doubled when it is full, so that words do not move each time."""
        size = len(kept) + len(fresh)
        if size > len(self._hashes):
            larger = np.zeros(max(size, 2 * len(self._hashes), 1024), dtype=PAIR)
            larger[: len(kept)] = kept
            self._hashes = larger
        self._hashes[len(kept) : size] = fresh


def texts(document: Document) -> Iterator[str]:
    """What a document says, without the names of roles."""
    for side in document.sides:
        yield from _texts(side)


def _texts(document: Document) -> Iterator[str]:
    if document.conversation is None:
        yield from (part.content for part in document.parts if isinstance(part.content, str))
        return
    for message in document.conversation.messages:
        content = message.get("content")
        if isinstance(content, str):
            yield content
        else:
            yield from (part["text"] for part in content or () if part.get("type") == "text")
