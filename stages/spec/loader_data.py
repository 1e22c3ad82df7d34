"""Reads specs/data, tokenizers, releases and hardware: mixtures, corpora, tokenizers, released models, devices."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from stages.errors import SpecError, Where
from stages.spec import other_corpora
from stages.spec.bindings import bindings
from stages.spec.corpora import corpus, tokenizer
from stages.spec.files import Files, check_name, check_sources
from stages.spec.mixtures import check_mixtures, kinds_of
from stages.spec.nodes import Document, Path
from stages.spec.schema.corpora import Kind, RawCorpus, RawRoots, RawTokenizer
from stages.spec.schema.data import RawMixtures, RawPublishedCorpora
from stages.spec.schema.hardware import RawHardware
from stages.spec.schema.releases import RawReleaseFiles, release
from stages.spec.schema.tokenizers import RawTokenizerFiles
from stages.spec.schema.tokenizers import tokenizer as tokenizer_files
from stages.spec.validate import hint, several, unknown_name, validate

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
    release_lines: dict[str, Where]  # of each release's architecture

    @cached_property
    def kinds(self) -> dict[str, Kind]:
        """The kind of every corpus that a mixture may name."""
        return kinds_of(self.published, self.corpora)

    def read_as(self, corpus: str, published: bool) -> str:
        """What is read where a mixture names a corpus: what it is bound to, at every scale.

        What is not bound is read itself or, at a scale that does not have the `published` corpora, by its stand-in.
        The name of a published corpus comes back where there is none: what reads at such a scale refuses it.
        """
        if corpus in self.bind or corpus not in self.published.corpora:
            return self.bind.get(corpus, corpus)
        return corpus if published else self.published.corpora[corpus].stand_in or corpus

    def named(self, tokenizer: str, published: bool) -> RawTokenizerFiles | None:
        """The declared tokenizer that a pipeline names: by its spec's name or, for published corpora, by its source."""
        found = self.tokenizers.get(tokenizer)
        if found is None and published:
            found = next((one for one in self.tokenizers.values() if one.source == tokenizer), None)
        return found

    def declared(self, digest: str) -> RawTokenizerFiles | None:
        """The declared tokenizer of a digest; None for the local one, and for one that is only named."""
        return next((one for one in self.tokenizers.values() if one.digest == digest), None)

    def extended(self, digest: str) -> str | None:
        """The digest of the tokenizer that a declared one extends."""
        mine = self.declared(digest)
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
    """specs/releases/<name>.yaml; without `declared`, what its folder decides may be missing. Raises InvalidSpecs."""
    document = files.entry("releases", name)
    check_name(document, "release", name)
    return release(document, declared)


def load_tokenizer(files: Files, name: str) -> RawTokenizerFiles:
    """specs/tokenizers/<name>.yaml. Raises InvalidSpecs."""
    document = files.entry("tokenizers", name)
    check_name(document, "tokenizer", name)
    return tokenizer_files(document)


def load_corpus(files: Files, name: str, declared: bool = True) -> RawCorpus:
    """A local corpus; without `declared`, what a preparation comes out with may still be missing. Raises SpecError."""
    document = files.entry("data", name)
    check_name(document, "corpus", name)
    found, tokenizers = corpus(document, declared), files.names("tokenizers")
    if found.tokenizer is not None and found.tokenizer not in tokenizers:
        raise document.error(
            ("tokenizer",), f"the unknown tokenizer {found.tokenizer!r}", ", ".join(tokenizers) or "none is declared",
            hint(found.tokenizer, tokenizers),
        )  # fmt: skip
    return found


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
    _check_published(published, known, corpora)
    check_mixtures(mixtures, raw, kinds_of(known, corpora))
    tokenizer, tokenizers = _local_tokenizer(files, corpora), _tokenizers(files)
    _check_cut(files, corpora, tokenizers, tokenizer is not None)
    for name in corpora:
        other_corpora.check(files.entry("data", name), name, corpora)
    releases = {name: load_release(files, name) for name in files.names("releases")}
    lines = {name: files.entry("releases", name).where(("architecture",)) for name in releases}
    load_roots(files)
    bind = bindings(files, known, corpora)
    return LoadedData(raw, known, corpora, tokenizer, tokenizers, releases, bind, published, mixtures, lines)


def _check_published(document: Document, published: RawPublishedCorpora, corpora: Collection[str]) -> None:
    """Published corpora have names of their own, and local stand-ins."""
    for name, entry in published.corpora.items():
        path: Path = ("corpora", name)
        if name in corpora:
            raise document.error(
                path,
                f"{name!r}, which is also specs/data/{name}.yaml",
                "names that no local corpus has",
                "Rename your corpus.",
            )
        if entry.stand_in is not None and entry.stand_in not in corpora:
            raise unknown_name(document, (*path, "stand_in"), "corpus", entry.stand_in, corpora)


def _tokenizers(files: Files) -> dict[str, RawTokenizerFiles]:
    """specs/tokenizers, each of which extends another of them or none."""
    tokenizers = {name: load_tokenizer(files, name) for name in files.names("tokenizers")}
    for name, words in tokenizers.items():
        if words.extends is not None and (words.extends not in tokenizers or name in _bases(tokenizers, name)):
            raise files.entry("tokenizers", name).error(
                ("extends",), repr(words.extends), "another of specs/tokenizers", hint(words.extends, tokenizers)
            )
    return tokenizers


def _check_cut(
    files: Files, corpora: Mapping[str, RawCorpus], tokenizers: Mapping[str, RawTokenizerFiles], local: bool
) -> None:
    """Every corpus names its tokenizer; it may name none where there is a `local` one."""
    for name, one in corpora.items():
        if one.tokenizer is None and not local:
            raise files.entry("data", name).error(
                ("tokenizer",), "nothing", ", ".join(tokenizers) or "none is declared", "Name one of specs/tokenizers."
            )


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
    """The tokenizer that is trained here, where there is specs/data/tokenizer.yaml. Raises InvalidSpecs."""
    path = files.specs / "data" / "tokenizer.yaml"
    if not path.is_file():
        return None
    document = files.document(path)
    found = tokenizer(document)
    for index, name in enumerate(found.corpora):
        if name not in corpora:
            raise unknown_name(document, ("corpora", index), "corpus", name, corpora)
    return found


def _one_digest(files: Files, corpora: Mapping[str, RawCorpus]) -> Iterator[SpecError]:
    """Corpora with one digest are one corpus, or a digest was copied: which of them is wrong, preparing them tells."""
    for name, corpus_ in corpora.items():
        same = [other for other, one in corpora.items() if other != name and one.digest == corpus_.digest]
        if same:
            document = files.entry("data", name)
            yield document.error(
                ("digest",), f"the digest of {', '.join(same)} too", "a digest of its own",
                f"`stages data {name} --accept` prints it; a corpus that is another's copy has no file of its own.",
            )  # fmt: skip


def load_hardware(files: Files, name: str) -> RawHardware:
    """The profile of specs/hardware/<name>.yaml. Raises SpecError for a mistake in it."""
    document = files.entry("hardware", name)
    raw = validate(document, RawHardware)
    check_name(document, "hardware", name)
    if raw.runtime >= raw.memory:
        raise document.error(
            ("runtime",), f"{raw.runtime / 1000:g} GB", f"less than `memory`, {raw.memory / 1000:g} GB",
            "It is what is in a device's memory before the first parameter.",
        )  # fmt: skip
    if raw.peak_fp32 is not None and raw.device == "cpu":
        raise document.error(("device",), "cpu", "cuda", "Or remove `peak_fp32`: a CPU's `peak` is the one in fp32.")
    check_sources(document)
    return raw
