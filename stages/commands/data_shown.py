"""`stages data NAME --show N`: documents of a prepared corpus, for a person who wants to see what is learned."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from rich.text import Text

from stages.commands.find_project import open_project
from stages.commands.first_rows import notices
from stages.data import spec
from stages.data.corpus.prepared import Corpus
from stages.data.loading import document_view
from stages.data.loading.document_view import Shown, Stretch
from stages.data.preparing.prepare import opened
from stages.data.spec import CorpusSpec
from stages.data.tokens.tokenizer import Tokenizer, of_corpus
from stages.data.tokens.tokenizer_use import FILE
from stages.errors import UserError
from stages.printable import printable
from stages.spec.schema.corpora import UNDECLARED
from stages.store.layout import Layout
from stages.terminal import Console

LEGEND = "Marks: + learned   | read, not learned   «...» a special token   ↵ a line break"
GUTTER = {True: "+ ", False: "| "}
STYLE = {True: "bold green", False: "dim"}


def print_documents(name: str, scale: str, count: int) -> None:
    """Print `count` documents. Raises UserError where the corpus is not prepared, or is the tokenizer."""
    if name == spec.TOKENIZER:
        raise UserError("tokenizer: has no rows to show; name a corpus of specs/data.")
    root, _ = open_project(scale)
    layout = Layout(root, scale)
    declared = spec.load(root, name, declared=False)
    corpus = Corpus(layout.corpus(name))
    tokenizer = of_corpus(layout.corpus(name), layout.corpus(spec.TOKENIZER) / FILE)
    console = Console(soft_wrap=True, highlight=False)
    console.print(Text(f"{name}: {corpus.documents:,} documents, of which {corpus.manifest.heldout:,} are held out"))
    for notice in (*_otherwise(layout, declared, corpus), *notices(layout, name)):
        console.print(Text(f"{name}: {notice}"))
    console.print(Text(LEGEND))
    origin = ""
    for origin, number in _chosen(root, declared, corpus, tokenizer, count):
        console.print()
        if number is None:
            console.print(Text(f"{printable(origin)}: in no document that was prepared: a duplicate, or changed since"))
        else:
            for line in _lines(origin, corpus.documents, document_view.show(corpus, tokenizer, number)):
                console.print(line)
    if not origin:
        console.print(Text(f"\nno row of its files can be used as they are; `stages data {name} --accept` names one"))


def _otherwise(layout: Layout, declared: CorpusSpec, corpus: Corpus) -> Iterator[str]:
    """That the spec or the tokenizer was changed since: what is shown is the old preparation."""
    name, made = declared.corpus, corpus.manifest
    again = f"what follows was prepared before that; `stages data {name} --accept` prepares it as it is now"
    if declared.digest not in (UNDECLARED, made.digest):
        yield f"{spec.FOLDER / name}.yaml declares another digest: {again}"
        return
    try:
        now = opened(layout.root, declared, layout.corpus(spec.TOKENIZER).parent, accept=True).digest
    except UserError as error:
        yield f"its tokenizer was changed, and {again}: {error}"
        return
    if now != made.tokenizer:
        yield f"its tokenizer was changed: {again}"


def _chosen(
    root: Path, declared: CorpusSpec, corpus: Corpus, tokenizer: Tokenizer, count: int
) -> Iterator[tuple[str, int | None]]:
    """Where each document is from, and its number."""
    if declared.builder == "file":
        yield from document_view.rows(root, declared, corpus, tokenizer, count)
    else:
        yield from ((f"builder {declared.builder}", number) for number in range(min(count, corpus.documents)))


def _lines(origin: str, of: int, one: Shown) -> Iterator[Text]:
    part = "held out" if one.heldout else "for training"
    counts = f"{one.tokens:,} tokens, {one.learned:,} learned"
    yield Text(f"--- {printable(origin)}: document {one.number + 1:,} of {of:,}, {part}: {counts}")
    for number, (height, width) in enumerate(one.pictures, 1):
        yield Text(f"    picture {number}: {height} x {width} pixels")
    for side, stretches in groupby(one.stretches, key=lambda stretch: stretch.of):
        yield from (*side_of(side), *lines_of(stretches))
    left = one.tokens - document_view.LONGEST
    if left > 0:
        yield Text(f"    ... and {left:,} tokens more")
    yield Text("--- end of the document")


def side_of(name: str) -> Iterator[Text]:
    """The line above one of the two answers of a pair; none above what is no pair."""
    if name:
        yield Text(f"    {name}:")


def lines_of(stretches: Iterable[Stretch]) -> Iterator[Text]:
    """Lines, each of which begins with whether it is learned; a new one at each border, and where the text breaks."""
    for learned, some in groupby(stretches, key=lambda one: one.learned):
        said = "".join(map(_words, some))
        for line in said.removesuffix("\n").split("\n"):
            yield Text(GUTTER[learned]).append(line, STYLE[learned])


def _words(stretch: Stretch) -> str:
    """What a stretch says. Nothing of it acts on a terminal, and no line of it is without a mark in front."""
    if stretch.special:
        return f"«{printable(stretch.text)}»" + (f" x {stretch.times}" if stretch.times > 1 else "")
    return printable(stretch.text.replace("\n", "↵\n"))
