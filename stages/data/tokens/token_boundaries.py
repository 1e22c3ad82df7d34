"""Where a rendered text is cut, so that the ids of its parts put together are the ids of the text.

`tokenizers` looks for the words of special tokens in the raw text before it does anything else, and what is between
two of them becomes ids by itself. So a text may be cut before such a word. That is certain only for `words` that are
that token wherever they stand:

- The token is special, looked for in the raw text (not `normalized`), takes no white space from next to it, and is one
  inside of words too.
- Neither its own word nor that of any other added token has a beginning that is an end of it, or the other way round,
  and none has the other in it: no text has two of them over each other.
- It begins with a character that no word has: an added token before it that has to stand alone does so either way.

Each part begins with such a word, so nothing in it is at the beginning of a text but what is there in the whole.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise

from tokenizers import AddedToken, Tokenizer


@dataclass(frozen=True)
class Cut:
    """The parts of a text, and for each of some edges in it the part that it is counted from and the text up to it."""

    parts: Sequence[str]
    heads: Sequence[tuple[int, str]]

    @property
    def texts(self) -> list[str]:
        """All that has to become ids, in order."""
        return [*self.parts, *(head for _, head in self.heads)]

    def joined(self, ids: Sequence[list[int]]) -> tuple[list[int], list[int | None]]:
        """From the ids of `texts`, those of the whole text, and how many stand before each edge.

        None where what is before an edge, alone, has other ids than it has in the whole.
        """
        parts, heads = ids[: len(self.parts)], ids[len(self.parts) :]
        whole, before = list(chain.from_iterable(parts)), list(accumulate(map(len, parts), initial=0))
        edges: list[int | None] = []
        for (part, _), head in zip(self.heads, heads, strict=True):
            at = before[part] + len(head)
            edges.append(at if whole[before[part] : at] == head else None)
        return whole, edges


def cut(text: str, edges: Sequence[int], words: re.Pattern[str] | None) -> Cut:
    """Cut a text before the last of the `words` that ends before each edge, or begins there."""
    found = [] if words is None else [match.span() for match in words.finditer(text)]
    starts, anchors = [start for start, _ in found], list[int]()
    for edge in edges:
        last = bisect_right(starts, edge) - 1
        if last >= 0 and starts[last] < edge < found[last][1]:
            last -= 1
        anchors.append(starts[last] if last >= 0 else 0)
    borders = sorted({0, *anchors})
    parts = [text[start:end] for start, end in pairwise([*borders, len(text)])]
    number = {border: place for place, border in enumerate(borders)}
    return Cut(parts, [(number[anchor], text[anchor:edge]) for anchor, edge in zip(anchors, edges, strict=True)])


def words(tokenizer: Tokenizer, wanted: Iterable[str]) -> re.Pattern[str] | None:
    """A pattern of those of the `wanted` words before which a text may be cut; None where there is none."""
    added = {token.content: token for token in tokenizer.get_added_tokens_decoder().values()}
    found = [
        one for one in wanted if one in added and _anywhere(added[one]) and not any(_meet(one, two) for two in added)
    ]
    return re.compile("|".join(map(re.escape, sorted(found)))) if found else None


def _anywhere(token: AddedToken) -> bool:
    beside = token.lstrip or token.rstrip or token.single_word or token.normalized
    return token.special and not beside and not (token.content[0].isalnum() or token.content[0] == "_")


def _meet(one: str, two: str) -> bool:
    """Whether a text may have both over each other, in part or in full, at different places."""
    if one != two and (one in two or two in one):
        return True
    return any(one[-size:] == two[:size] or two[-size:] == one[:size] for size in range(1, min(len(one), len(two))))
