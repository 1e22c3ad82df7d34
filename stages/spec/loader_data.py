"""Reads specs/data, specs/tokenizers and specs/releases: mixtures, corpora, tokenizers, released models."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from stages.errors import SpecError
from stages.spec import other_corpora
from stages.spec.corpora import corpus, tokenizer
from stages.spec.files import Files, check_name, check_sources
from stages.spec.nodes import Document, Path
from stages.spec.schema_corpora import Kind, RawCorpus, RawRoots, RawTokenizer
from stages.spec.schema_data import RawBindings, RawMixtures, RawMixtureSource, RawPublishedCorpora
from stages.spec.schema_releases import RawReleaseFiles, release
from stages.spec.schema_tokenizers import RawTokenizerFiles
from stages.spec.schema_tokenizers import tokenizer as tokenizer_files
from stages.spec.validate import meant, several, unknown_name, validate

NOT_CORPORA = frozenset({"mixtures", "published", "tokenizer", "roots", "bind"})


@dataclass(frozen=True)
class LoadedData:
    """specs/data, specs/tokenizers and specs/releases. `tokenizer` is the local one, None where there is none."""

    mixtures: RawMixtures
    published: RawPublishedCorpora
    corpora: dict[str, RawCorpus]
    tokenizer: RawTokenizer | None
    tokenizers: dict[str, RawTokenizerFiles]
    releases: dict[str, RawReleaseFiles]
    bind: dict[str, str]  # published corpus -> the local one that is read in its place
    published_document: Document
    mixtures_document: Document

    @cached_property
    def kinds(self) -> dict[str, Kind]:
        """The kind of every corpus that a mixture may name."""
        return _kinds(self.published, self.corpora)

    def read_as(self, corpus: str, published: bool) -> str:
        """What is read where a mixture names a corpus: what it is bound to, at every scale.

        What is not bound is read itself or, at a scale that does not have the `published` corpora, by its stand-in.
        """
        if corpus in self.bind or corpus not in self.published.corpora:
            return self.bind.get(corpus, corpus)
        return corpus if published else self.published.corpora[corpus].stand_in

    def named(self, tokenizer: str, published: bool) -> RawTokenizerFiles | None:
        """The declared tokenizer that a pipeline names: by its spec's name or, for published corpora, by its source."""
        found = self.tokenizers.get(tokenizer)
        if found is None and published:
            found = next((one for one in self.tokenizers.values() if one.source == tokenizer), None)
        return found

    def extended(self, digest: str) -> str | None:
        """The digest of the tokenizer that a declared one extends."""
        mine = next((one for one in self.tokenizers.values() if one.digest == digest), None)
        return self.tokenizers[mine.extends].digest if mine is not None and mine.extends is not None else None

    def tokens(self, digest: str) -> int | None:
        """How many tokens a tokenizer has, where it is declared here."""
        return self.vocabularies.get(digest)

    @cached_property
    def vocabularies(self) -> dict[str, int]:
        """Tokens of every tokenizer of the project, by its digest."""
        known = {one.digest: one.vocab for one in self.tokenizers.values()}
        return known if self.tokenizer is None else known | {self.tokenizer.digest: self.tokenizer.vocab}

    @property
    def local(self) -> str:
        """The digest of the local tokenizer; empty where there is none."""
        return "" if self.tokenizer is None else self.tokenizer.digest

    def tokenizer_of(self, corpus: str) -> str:
        """The digest of the tokenizer that a local corpus is cut with."""
        name = self.corpora[corpus].tokenizer
        return self.local if name is None else self.tokenizers[name].digest


def load_release(files: Files, name: str, declared: bool = True) -> RawReleaseFiles:
    """specs/releases/<name>.yaml; without `declared`, what its folder decides may be missing. Raises SpecError(s)."""
    document = files.document(files.specs / "releases" / f"{name}.yaml")
    check_name(document, "release", name)
    return release(document, declared)


def load_tokenizer(files: Files, name: str) -> RawTokenizerFiles:
    """specs/tokenizers/<name>.yaml. Raises SpecError(s)."""
    document = files.document(files.specs / "tokenizers" / f"{name}.yaml")
    check_name(document, "tokenizer", name)
    return tokenizer_files(document)


def load_corpus(files: Files, name: str, declared: bool = True) -> RawCorpus:
    """A local corpus; without `declared`, what a preparation comes out with may still be missing. Raises SpecError."""
    document = files.document(files.specs / "data" / f"{name}.yaml")
    check_name(document, "corpus", name)
    return corpus(document, declared)


def load_roots(files: Files) -> dict[str, str]:
    """The folders outside the project that corpora may be read from, by name; none where nothing declares any."""
    path = files.specs / "data" / "roots.yaml"
    return dict(validate(files.document(path), RawRoots).roots) if path.is_file() else {}


def load_data(files: Files) -> LoadedData:
    """Mixtures, published corpora, local corpora and the tokenizer."""
    folder = files.specs / "data"
    mixtures, published = files.document(folder / "mixtures.yaml"), _published(files)
    raw, known = validate(mixtures, RawMixtures), validate(published, RawPublishedCorpora)
    check_sources(mixtures)
    corpora = {name: load_corpus(files, name) for name in files.names("data") if name not in NOT_CORPORA}
    if twice := list(_one_digest(files, corpora)):
        raise several(twice)
    for name, entry in known.corpora.items():
        path: Path = ("corpora", name)
        if name in corpora:
            raise published.error(
                path,
                f"{name!r}, which is also specs/data/{name}.yaml",
                "names that no local corpus has",
                "Rename your corpus.",
            )
        if entry.stand_in not in corpora:
            raise unknown_name(published, (*path, "stand_in"), "corpus", entry.stand_in, corpora)
    _check_mixtures(mixtures, raw, known, corpora)
    tokenizer = _local_tokenizer(files, corpora)
    tokenizers = {name: load_tokenizer(files, name) for name in files.names("tokenizers")}
    for name, words in tokenizers.items():
        if words.extends is not None and (words.extends not in tokenizers or name in _bases(tokenizers, name)):
            raise files.document(files.specs / "tokenizers" / f"{name}.yaml").error(
                ("extends",), repr(words.extends), "another of specs/tokenizers", meant(words.extends, tokenizers)
            )
    for name, one in corpora.items():
        if one.tokenizer not in (tokenizers if tokenizer is None else {None, *tokenizers}):
            found = "nothing" if one.tokenizer is None else f"the unknown tokenizer {one.tokenizer!r}"
            raise files.document(folder / f"{name}.yaml").error(
                ("tokenizer",), found, ", ".join(tokenizers) or "none is declared",
                meant(one.tokenizer, tokenizers) if one.tokenizer else "Name one of specs/tokenizers.",
            )  # fmt: skip
    for name in corpora:
        other_corpora.check(files.document(folder / f"{name}.yaml"), name, corpora)
    releases = {name: load_release(files, name) for name in files.names("releases")}
    bind = _bindings(files, known, corpora)
    return LoadedData(raw, known, corpora, tokenizer, tokenizers, releases, bind, published, mixtures)


def _bases(tokenizers: Mapping[str, RawTokenizerFiles], name: str) -> list[str]:
    """What a tokenizer extends, what that extends, and so on, up to the first that comes again."""
    found: list[str] = []
    base = tokenizers[name].extends
    while base is not None and base in tokenizers and base not in found:
        found.append(base)
        base = tokenizers[base].extends
    return found


def _published(files: Files) -> Document:
    """What the papers used: of a project without specs/data/published.yaml, nothing."""
    path = files.specs / "data" / "published.yaml"
    return files.document(path) if path.is_file() else Document({"corpora": {}}, {})


def _local_tokenizer(files: Files, corpora: Collection[str]) -> RawTokenizer | None:
    """The tokenizer that is trained here, where there is specs/data/tokenizer.yaml. Raises SpecError(s)."""
    path = files.specs / "data" / "tokenizer.yaml"
    if not path.is_file():
        return None
    document = files.document(path)
    found = tokenizer(document)
    for index, name in enumerate(found.corpora):
        if name not in corpora:
            raise unknown_name(document, ("corpora", index), "corpus", name, corpora)
    return found


def _bindings(files: Files, published: RawPublishedCorpora, local: Mapping[str, RawCorpus]) -> dict[str, str]:
    """specs/data/bind.yaml, where there is one. Raises SpecError(s): all that is wrong with it."""
    path = files.specs / "data" / "bind.yaml"
    if not path.is_file():
        return {}
    document = files.document(path)
    found = validate(document, RawBindings).bind
    if wrong := list(_misbound(document, found, published, local)):
        raise several(wrong)
    return dict(found)


def _misbound(
    document: Document, bind: Mapping[str, str], published: RawPublishedCorpora, local: Mapping[str, RawCorpus]
) -> Iterator[SpecError]:
    for name, own in bind.items():
        path: Path = ("bind", name)
        if name not in published.corpora:
            yield document.error(
                path,
                f"the unknown published corpus {name!r}",
                "those of published.yaml",
                meant(name, published.corpora),
            )
        elif own not in local:
            repair = f"Write specs/data/{own}.yaml and prepare it. {meant(own, local)}"
            yield document.error(path, f"the unknown corpus {own!r}", "the files of specs/data", repair)
        elif local[own].kind != published.corpora[name].kind:
            wanted = published.corpora[name].kind
            yield document.error(
                path, f"{own!r} of kind {local[own].kind}", f"a corpus of kind {wanted}", "Bind another."
            )


def _one_digest(files: Files, corpora: Mapping[str, RawCorpus]) -> Iterator[SpecError]:
    """Corpora with one digest are one corpus, or a digest was copied: which of them is wrong, preparing them tells."""
    for name, corpus_ in corpora.items():
        same = [other for other, one in corpora.items() if other != name and one.digest == corpus_.digest]
        if same:
            document = files.document(files.specs / "data" / f"{name}.yaml")
            yield document.error(
                ("digest",), f"the digest of {', '.join(same)} too", "a digest of its own",
                f"`stages data {name} --accept` prints it; a corpus that is another's copy has no file of its own.",
            )  # fmt: skip


def _kinds(published: RawPublishedCorpora, local: Mapping[str, RawCorpus]) -> dict[str, Kind]:
    """The kind of every corpus that a mixture may name."""
    known = {name: one.kind for name, one in published.corpora.items()}
    return known | {name: one.kind for name, one in local.items()}


def _check_mixtures(
    document: Document, raw: RawMixtures, known: RawPublishedCorpora, local: dict[str, RawCorpus]
) -> None:
    """Corpora are published or local ones, each once and in the group of its kind; shares of a group sum to 1."""
    kinds = _kinds(known, local)
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
        found, repair = f"the unknown corpus {source.corpus!r}", meant(source.corpus, kinds)
        raise document.error((*path, "corpus"), found, allowed, repair)
    kind = kinds[source.corpus]
    group = "multimodal" if kind in ("multimodal", "pairs") else "text"
    if source.group != group:
        repair = f"{source.corpus!r} is a corpus of kind {kind}."
        raise document.error((*path, "group"), repr(source.group), group, repair)
