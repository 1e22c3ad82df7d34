"""`stages data NAME`: prepare one corpus, or the tokenizer."""

from __future__ import annotations

import sys
from pathlib import Path

from stages.commands.open import open_project
from stages.data import spec
from stages.store import markers
from stages.store.layout import Layout
from stages.sync.verdicts import corpora_done, corpus_marker


def prepare(name: str, scale: str, awaited: Path | None = None) -> None:
    """Prepare a corpus unless it is there as its spec declares, and set its marker.

    A user's own file is read again whenever somebody asks, since it may have changed under its name. Raises UserError
    when the marker is not the `awaited` one.
    """
    from stages.data.prepare import prepare as prepare_corpus

    root, _ = open_project(scale)
    layout = Layout(root, scale)
    marker = corpus_marker(root, layout, name)
    markers.expect(awaited, marker, name)
    own_file = name != spec.TOKENIZER and spec.load(root, name).builder == "file"
    if own_file or not corpora_done(root, layout, (name,), deep=True)[name]:  # deep: it may be run to mend damage
        _tokenizer_first(root, layout, name)
        made = prepare_corpus(root, name, layout.corpus(name))
        print(f"{name}: {made.documents} documents, {made.heldout} held out, size {made.size}", file=sys.stderr)
    else:
        print(f"{name}: prepared already, as specs/data/{name}.yaml declares", file=sys.stderr)
    markers.place(marker)


def print_declaration(name: str) -> None:
    """Prepare a corpus whatever its spec declares, and print the lines that would declare it, and nothing else."""
    from stages.data.prepare import declaration, packed_rows
    from stages.data.prepare import prepare as prepare_corpus
    from stages.data.prepared import Corpus

    root, _ = open_project("mini")
    layout = Layout(root, "mini")
    if name != spec.TOKENIZER:
        spec.load(root, name, declared=False)  # a mistake in the spec is told before anything is prepared
    _tokenizer_first(root, layout, name)
    made = prepare_corpus(root, name, layout.corpus(name), accept=True)
    print(f"# for specs/data/{name}.yaml, once you have looked at what changed:")
    packed = {} if name == spec.TOKENIZER else packed_rows(Corpus(layout.corpus(name)))
    print(declaration(made, packed), end="")


def _tokenizer_first(root: Path, layout: Layout, name: str) -> None:
    """Corpora are cut into the tokenizer's tokens: prepare it if it is not there as declared."""
    if name != spec.TOKENIZER and not corpora_done(root, layout, (spec.TOKENIZER,), deep=True)[spec.TOKENIZER]:
        prepare(spec.TOKENIZER, layout.scale)
