"""Text corpora: prose (docstrings), code (modules), long documents, and instruction pairs made from both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from stages.data.document import Document, chat, held_out, plain, text_part
from stages.data.draws import Draws, rank
from stages.data.generated.packages import SourceFile
from stages.data.generated.pymodules import Docstring, docstrings, first_sentences
from stages.data.spec import CorpusSpec


def shuffled(files: Sequence[SourceFile]) -> list[SourceFile]:
    """Modules in the order of their rank, so that the first few are a sample of all packages."""
    return sorted(files, key=lambda file: rank(file.identity))


def prose(spec: CorpusSpec, files: Sequence[SourceFile]) -> Iterator[Document]:
    """A document per module: its docstrings, verbatim, each under the name of what it describes."""
    least, most = spec.number("least_characters"), spec.number("most_characters")
    for file in shuffled(files):
        if len(file.text) > most:
            continue
        found = [f"{item.name}\n{item.text}" if item.name else item.text for item in docstrings(file.text)]
        text = "\n\n".join(found)
        if len(text) >= least:
            yield plain(file.identity, text, held_out(file.identity))


def code(spec: CorpusSpec, files: Sequence[SourceFile]) -> Iterator[Document]:
    """A document per module: its source, verbatim, under its path."""
    least, most = spec.number("least_characters"), spec.number("most_characters")
    for file in shuffled(files):
        if least <= len(file.text) <= most:
            yield plain(file.identity, _module(file), held_out(file.identity))


def long(spec: CorpusSpec, files: Sequence[SourceFile]) -> Iterator[Document]:
    """Modules of one folder, joined in a shuffled order until a document is long enough."""
    least, most = spec.number("least_characters"), spec.number("most_characters")
    for heldout in (False, True):
        chosen = [file for file in files if held_out(file.identity) == heldout and len(file.text) <= most]
        # Few modules are held out: their documents are joined per distribution instead of per folder.
        folder: Callable[[SourceFile], str] = (
            (lambda f: f.identity.split("/")[0]) if heldout else (lambda f: f.identity.rsplit("/", 1)[0])
        )
        for name, group in groupby(sorted(chosen, key=lambda f: (folder(f), rank(f.identity))), key=folder):
            parts: list[str] = []
            size = number = 0
            for file in group:
                if size and size + len(file.text) > most:
                    parts, size = [], 0
                parts.append(_module(file))
                size += len(file.text)
                if size >= least:
                    yield plain(f"{name}#{number}", "\n\n".join(parts), heldout)
                    parts, size, number = [], 0, number + 1


def instruct(spec: CorpusSpec, files: Sequence[SourceFile]) -> Iterator[Document]:
    """Signature in the question, the first sentences of the docstring as the answer."""
    limit = spec.number("answer_characters")
    for file in shuffled(files):
        for number, (item, answer) in enumerate(_answerable(file, limit)):
            kind = "function" if item.function else "class"
            ask = Draws("instruct", file.identity, number).choice(_QUESTIONS).format(kind=kind)
            turns = (("user", text_part(f"{ask}\n{item.signature}")), ("assistant", text_part(answer)))
            yield chat(f"{file.identity}#{number}", turns, held_out(file.identity))


def long_instruct(spec: CorpusSpec, files: Sequence[SourceFile]) -> Iterator[Document]:
    """A whole module, then a question about one of its functions, answered with its docstring's first sentences."""
    limit = spec.number("answer_characters")
    least, most = spec.number("least_characters"), spec.number("most_characters")
    for file in shuffled(files):
        if not least <= len(file.text) <= most:
            continue
        found = [pair for pair in _answerable(file, limit) if pair[0].name]
        for number in range(min(spec.number("questions"), len(found))):
            item, answer = found[Draws("long_instruct", file.identity, number).below(len(found))]
            ask = f"{_module(file)}\n\nWhat does {item.name} do?"
            turns = (("user", text_part(ask)), ("assistant", text_part(answer)))
            yield chat(f"{file.identity}#{number}", turns, held_out(file.identity))


_QUESTIONS = (
    "What does this {kind} do?",
    "Describe this {kind} in a sentence or two.",
    "Write the docstring of this {kind}.",
    "Explain this {kind}.",
)


def _answerable(file: SourceFile, limit: int) -> Iterator[tuple[Docstring, str]]:
    for item in docstrings(file.text):
        answer = first_sentences(item.text, limit)
        if item.signature and len(item.signature) <= 2 * limit and len(answer) >= 20:
            yield item, answer


def _module(file: SourceFile) -> str:
    return f"# {file.identity}\n{file.text.rstrip()}\n"
