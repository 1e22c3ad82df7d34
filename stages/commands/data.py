"""`stages data NAME`: prepare one corpus, or the tokenizer."""

from __future__ import annotations

from stages.commands.open import open_project
from stages.store import markers
from stages.store.layout import Layout
from stages.sync.verdicts import corpora_done, corpus_marker


def prepare(name: str, scale: str) -> None:
    """Prepare a corpus unless it is there as its spec declares, and set its marker."""
    from stages.data.prepare import prepare as prepare_corpus

    root, _ = open_project(scale)
    layout = Layout(root, scale)
    marker = corpus_marker(root, layout, name)
    if not corpora_done(root, layout, (name,))[name]:
        made = prepare_corpus(root, name, layout.corpus(name))
        print(f"{name}: {made.documents} documents, size {made.size}")
    markers.place(marker)


def print_declaration(name: str) -> None:
    """Prepare a corpus whatever its spec declares, and print the lines that would declare it."""
    from stages.data.prepare import declaration
    from stages.data.prepare import prepare as prepare_corpus

    root, _ = open_project("mini")
    made = prepare_corpus(root, name, Layout(root, "mini").corpus(name), accept=True)
    print(f"# for specs/data/{name}.yaml, once you have looked at what changed:")
    print(declaration(made), end="")
