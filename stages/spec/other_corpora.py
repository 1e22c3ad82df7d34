"""Corpora that another one is compared with: what `without` and `decontaminate` of a data spec may name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from stages.errors import SpecError
from stages.spec.nodes import Document, Path
from stages.spec.schema.corpora import RawCorpus
from stages.spec.validate import hint, several


def named(corpus: RawCorpus) -> Iterator[tuple[Path, str]]:
    """The other corpora that a spec names, each with its place in the file."""
    yield from ((("without", at), other) for at, other in enumerate(corpus.without or ()))
    if corpus.decontaminate is not None:
        yield from ((("decontaminate", "against", other), other) for other in corpus.decontaminate.against)


def check(document: Document, name: str, corpora: Mapping[str, RawCorpus]) -> None:
    """Raise InvalidSpecs where a corpus is compared with one that has no rows, or gives way to itself.

    `corpora` has at least the corpus and those that `without` leads to from it.
    """
    if wrong := list(_wrong(document, name, corpora)):
        raise several(wrong)


def _wrong(document: Document, name: str, corpora: Mapping[str, RawCorpus]) -> Iterator[SpecError]:
    one = corpora[name]
    for path, other in named(one):
        if other not in corpora:
            yield document.error(path, f"the unknown corpus {other!r}", "the files of specs/data", hint(other, corpora))
        elif corpora[other].builder != "file":
            found = f"{other!r} of builder {corpora[other].builder}"
            yield document.error(path, found, "a corpus of builder file, whose text can be compared", "Remove it.")
        elif path[0] == "without" and (way := _way(corpora, other, name)):
            found = f"{other!r}, which gives way to {name!r} ({' -> '.join(way)})"
            yield document.error(path, found, "corpora that do not", "What both have would be in neither.")
        elif other == name and one.decontaminate is not None and one.decontaminate.against[name] == "all":
            yield document.error(path, "all of the corpus itself", "heldout", "Nothing would be left of it.")


def _way(corpora: Mapping[str, RawCorpus], start: str, end: str) -> list[str]:
    """Corpora from `start` to `end`, each of which leaves out what the next one has; empty where none lead there."""
    ways, seen = [[start]], set[str]()
    while ways:
        way = ways.pop()
        if way[-1] == end:
            return way
        if way[-1] not in seen and way[-1] in corpora:
            seen.add(way[-1])
            ways += [[*way, other] for other in corpora[way[-1]].without or ()]
    return []
