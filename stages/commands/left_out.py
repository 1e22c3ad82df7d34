"""What a prepared corpus does not hold of its files, and why, a line for each: as its manifest has it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from stages.data.prepared import DataManifest, read_manifest

SHOWN = 5  # rows that were left out; the manifest has all


def lines(made: DataManifest) -> Iterator[str]:
    """Adopted files, documents and tokens that others have, rows that could not be used."""
    if (adopted := made.adopted) is not None:
        documents = made.documents + made.heldout
        yield (
            f"adopted {len(adopted.datasets)} datasets; of {documents} documents {adopted.begin} begin with the "
            f"tokenizer's bos, {adopted.end} end with its eos; {adopted.empty} empty ones are left out"
        )
    if made.inputs is None:
        return
    yield from _documents(made)
    for one in made.inputs.skipped[:SHOWN]:
        yield f"left out {one.file}:{one.line}: {one.why}"
    if len(made.inputs.skipped) > SHOWN:
        yield f"and {len(made.inputs.skipped) - SHOWN} more, all in its manifest.json"


def of_prepared(refs: Iterable[str], data: Path) -> Iterator[str]:
    """For `stages status`: of prepared corpora, the documents that are left out or have evaluations' text."""
    for ref in refs:
        yield from (f"{ref}: {line}" for line in _documents(read_manifest(data / ref.removeprefix("data/"))))


def _documents(made: DataManifest) -> Iterator[str]:
    inputs = made.inputs
    if inputs is None:
        return
    if inputs.duplicates:
        yield f"left out {inputs.duplicates} documents that say what another one does"
    for other, left in (inputs.without or {}).items():
        yield f"left out {left.documents} documents, {left.tokens} tokens, that {other} has"
    for other, matched in (inputs.decontaminated or {}).items():
        yield (
            f"{matched.documents} documents, {matched.tokens} tokens, with text of {other}; {matched.short} of its "
            f"{matched.of} documents are shorter than an n-gram"
        )
