"""What a preparation came out with: the lines that declare it, and the comparison with what a spec declares."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from stages.data import spec
from stages.data.corpus import offsets
from stages.data.corpus.corpus_manifest import DataManifest
from stages.data.corpus.prepared import Corpus
from stages.data.loading import packing
from stages.data.spec import CorpusSpec, Packed
from stages.data.tokens import unknown
from stages.errors import UserError

SHORTEST = 5  # contexts below 2^5 tokens contain no document worth packing
Lengths = Callable[[], Iterator[NDArray[np.int64]]]  # of documents, in blocks, each time it is called


def declaration(manifest: DataManifest, packed: Mapping[int, Packed] | None = None) -> str:
    """The lines to put into the spec, after a reviewed change of builder, packages or tokenizer."""
    lines = [] if manifest.unknown is None else [f"# {unknown.shown(manifest.unknown)}"]
    lines += [f'digest: "{manifest.digest}"']
    if manifest.kind != "tokenizer":
        lines += (f"{field}: {getattr(manifest, field)}" for field in ("size", "documents", "longest", "heldout"))
    if packed:
        lines += ["packed:"]
        lines += (f"  {context}: {{rows: {one.rows}, tokens: {one.tokens}}}" for context, one in packed.items())
    return "\n".join(lines) + "\n"


def packed_rows(corpus: Corpus, contexts: Collection[int] = ()) -> dict[int, Packed]:
    """What fits into rows of each context that is a power of two, up to the first that takes the corpus in one row.

    And of the `contexts` that it is read at.
    """
    if corpus.manifest.kind == "pairs":
        return {}

    def blocks() -> Iterator[NDArray[np.int64]]:
        return offsets.length_blocks(corpus.offsets, corpus.training_documents)

    powers = {1 << power for power in range(SHORTEST, corpus.manifest.size.bit_length() + 1)}
    wanted = powers | {context for context in contexts if context < max(powers, default=0)}
    found = {context: _packed(blocks, context) for context in sorted(wanted)}
    return {context: one for context, one in found.items() if one.rows}


def _packed(lengths: Lengths, context: int) -> Packed:
    rows, tokens = packing.next_fit(lengths(), context)
    return Packed(rows=rows, tokens=tokens)


def compare(corpus: CorpusSpec, built: DataManifest, lengths: Lengths) -> None:
    """Raise UserError where what was built is not what is declared; `lengths` (tokens) are of training documents."""
    fields = ("digest", "size", "documents", "longest", "heldout")
    pairs = {field: (getattr(corpus, field), getattr(built, field)) for field in fields}
    for context, declared in corpus.packed.items():
        pairs[f"packed.{context}"] = (_written(declared), _written(_packed(lengths, context)))
    different = {field: (declared, found) for field, (declared, found) in pairs.items() if declared != found}
    if different:
        raise UserError(difference(corpus.corpus, different))


def _written(packed: Packed) -> str:
    return f"{packed.rows} rows, {packed.tokens} tokens"


def difference(name: str, fields: dict[str, tuple[object, object]]) -> str:
    """The error for what is declared otherwise: field -> (declared, built)."""
    path = spec.FOLDER / f"{name}.yaml"
    lines = [f"{path}: {field}: declared {declared}, built {built}" for field, (declared, built) in fields.items()]
    return "\n".join(
        [*lines, f"If the change is wanted, run `stages data {name} --accept` and put its lines into the spec."]
    )
