"""specs/data/mixtures.yaml: what phases read, and what has to be true of it."""

from __future__ import annotations

from collections.abc import Mapping

from stages.spec.nodes import Document, Path
from stages.spec.schema.corpora import Kind, RawCorpus
from stages.spec.schema.data import RawMixtures, RawMixtureSource, RawPublishedCorpora
from stages.spec.validate import hint


def kinds_of(published: RawPublishedCorpora, local: Mapping[str, RawCorpus]) -> dict[str, Kind]:
    """The kind of every corpus that a mixture may name."""
    known = {name: one.kind for name, one in published.corpora.items()}
    return known | {name: one.kind for name, one in local.items()}


def check_mixtures(document: Document, raw: RawMixtures, kinds: Mapping[str, Kind]) -> None:
    """Corpora are those of `kinds`, each once and in the group of its kind; shares of a group sum to 1."""
    for name, mixture in raw.mixtures.items():
        path: Path = ("mixtures", name, "sources")
        seen: dict[str, int] = {}
        for index, source in enumerate(mixture.sources):
            _check_source(document, (*path, index), source, kinds)
            if source.corpus in seen:
                first = document.where((*path, seen[source.corpus])).line
                found = f"{source.corpus!r} a second time (first in line {first})"
                raise document.error(
                    (*path, index), found, "each corpus once", "Correct the name, or add up the shares."
                )
            seen[source.corpus] = index
        for group in dict.fromkeys(source.group for source in mixture.sources):
            total = sum(source.share for source in mixture.sources if source.group == group)
            if total != 1:
                found = f"shares of the {group} group that sum to {float(total) * 100:.12g}%"
                raise document.error(path, found, "exactly 100%", "Correct the shares.")


def _check_source(document: Document, path: Path, source: RawMixtureSource, kinds: Mapping[str, Kind]) -> None:
    if source.corpus not in kinds:
        allowed = "the corpora of published.yaml and the files of specs/data"
        found, repair = f"the unknown corpus {source.corpus!r}", hint(source.corpus, kinds)
        raise document.error((*path, "corpus"), found, allowed, repair)
    kind = kinds[source.corpus]
    group = "multimodal" if kind in ("multimodal", "pairs") else "text"
    if source.group != group:
        repair = f"{source.corpus!r} is a corpus of kind {kind}."
        raise document.error((*path, "group"), repr(source.group), group, repair)
