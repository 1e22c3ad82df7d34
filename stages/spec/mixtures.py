"""specs/data/mixtures.yaml: what phases read, and what has to be true of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from stages.errors import SpecError
from stages.spec.nodes import Document, Path
from stages.spec.schema.corpora import Kind, RawCorpus
from stages.spec.schema.data import RawMixture, RawMixtures, RawMixtureSource, RawPublishedCorpora
from stages.spec.validate import hint, several


def kinds_of(published: RawPublishedCorpora, local: Mapping[str, RawCorpus]) -> dict[str, Kind]:
    """The kind of every corpus that a mixture may name."""
    known = {name: one.kind for name, one in published.corpora.items()}
    return known | {name: one.kind for name, one in local.items()}


def check_mixtures(document: Document, raw: RawMixtures, kinds: Mapping[str, Kind]) -> None:
    """Corpora are those of `kinds`, each once and in the group of its kind; shares of a group sum to 1.

    Raises InvalidSpecs.
    """
    if errors := [error for name, mixture in raw.mixtures.items() for error in _wrong(document, name, mixture, kinds)]:
        raise several(errors)


def _wrong(document: Document, name: str, mixture: RawMixture, kinds: Mapping[str, Kind]) -> Iterator[SpecError]:
    path: Path = ("mixtures", name, "sources")
    seen: dict[str, int] = {}
    wrong: list[SpecError] = []
    for index, source in enumerate(mixture.sources):
        wrong += _wrong_source(document, (*path, index), source, kinds)
        if source.corpus in seen:
            first = document.where((*path, seen[source.corpus])).line
            found = f"{source.corpus!r} a second time (first in line {first})"
            repair = "Correct the name, or add up the shares."
            wrong.append(document.error((*path, index), found, "each corpus once", repair))
        seen.setdefault(source.corpus, index)
    yield from wrong
    if wrong:  # of which the sums may come
        return
    for group in dict.fromkeys(source.group for source in mixture.sources):
        total = sum(source.share for source in mixture.sources if source.group == group)
        if total != 1:
            found = f"shares of the {group} group that sum to {float(total) * 100:.12g}%"
            yield document.error(path, found, "exactly 100%", "Correct the shares.")


def _wrong_source(
    document: Document, path: Path, source: RawMixtureSource, kinds: Mapping[str, Kind]
) -> Iterator[SpecError]:
    if source.corpus not in kinds:
        allowed = "the corpora of published.yaml and the files of specs/data"
        found, repair = f"the unknown corpus {source.corpus!r}", hint(source.corpus, kinds)
        yield document.error((*path, "corpus"), found, allowed, repair)
        return
    kind = kinds[source.corpus]
    group = "multimodal" if kind in ("multimodal", "pairs") else "text"
    if source.group != group:
        repair = f"{source.corpus!r} is a corpus of kind {kind}."
        yield document.error((*path, "group"), repr(source.group), group, repair)
