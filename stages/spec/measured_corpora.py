"""What a spec says was measured of a corpus, where no corpus can have come out with it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from stages.errors import SpecError
from stages.spec.nodes import Document, Path
from stages.spec.schema.corpora import RawCorpus


def impossible(document: Document, raw: RawCorpus) -> Iterator[SpecError]:
    """Counts that contradict each other. `documents` are those for training; `longest` is of the held-out ones too."""
    for key, found, allowed in list(_counts(raw)) or _rows(raw):
        repair = f"Copy all of what `stages data {raw.corpus} --accept` prints."
        yield document.error(key, found, allowed, repair)


def _counts(raw: RawCorpus) -> Iterator[tuple[Path, str, str]]:
    if raw.kind == "pairs":
        if raw.size != raw.documents:
            yield ("size",), f"{raw.size:,} items in {raw.documents:,} documents", "one item a document"
        return
    found = f"{raw.size:,} tokens in {raw.documents:,} documents, the longest of {raw.longest:,}"
    if raw.size > raw.documents * raw.longest:
        yield ("size",), found, f"at most {raw.documents * raw.longest:,} tokens: documents times longest"
    elif raw.size < raw.documents:
        yield ("size",), found, "at least one token a document"


def _rows(raw: RawCorpus) -> Iterator[tuple[Path, str, str]]:
    """Of documents that are put into rows one after the other (`data.packing`)."""
    measured = sorted(raw.packed.items())
    for context, one in measured:
        found, here = f"{one.tokens} tokens in {one.rows} rows", ("packed", str(context))
        least = one.rows // 2 * context + 1  # what begins a row did not fit into the one before it
        if not (one.tokens <= min(raw.size, one.rows * context) and one.rows <= raw.documents):
            yield here, found, (
                f"at most {context} tokens a row and the corpus's {raw.size}, and a document in every row of its "
                f"{raw.documents}"
            )  # fmt: skip
        elif context >= raw.longest and one.tokens != raw.size:
            yield here, found, f"all {raw.size} tokens: no document is longer than {raw.longest}"
        elif one.tokens < least:
            yield here, found, f"at least {least} tokens, since two neighbouring rows have more than {context}"
    for (shorter, one), (context, other) in pairwise(measured):
        if other.tokens < one.tokens:
            found, at_least = f"{other.tokens} tokens in rows of {context}", f"{one.tokens}, which fit into {shorter}"
            yield ("packed", str(context)), found, f"at least {at_least}"
