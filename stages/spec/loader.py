"""Reads specs/: files to checked raw specs, readings laid over what they extend."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path as FilePath

from stages.errors import SpecError, UserError, Where
from stages.spec import nodes, units
from stages.spec.extends import overlay
from stages.spec.fields import Raw
from stages.spec.nodes import Document, dotted
from stages.spec.schema import STAGES, RawStage
from stages.spec.schema_corpora import RawCorpus, RawTokenizer, corpus
from stages.spec.schema_data import RawMixtures, RawPublishedCorpora, RawScale
from stages.spec.schema_pipeline import RawPipeline
from stages.spec.sources import RawSource, uncovered
from stages.spec.validate import meant, several, validate

NOT_PIPELINES = frozenset({"data", "scales", "hardware"})
NOT_CORPORA = frozenset({"mixtures", "published", "tokenizer"})
OWN_KEYS = frozenset({"sources"})  # never merged into a reading


@dataclass(frozen=True)
class LoadedStage:
    """A raw stage and where its keys stand."""

    raw: RawStage
    document: Document


@dataclass(frozen=True)
class LoadedPipeline:
    """A raw pipeline, its stages by name, and where everything stands."""

    name: str
    raw: RawPipeline
    document: Document
    stages: dict[str, LoadedStage]


class Files:
    """The files below specs/, each read once."""

    def __init__(self, root: FilePath) -> None:
        self.root, self.specs = root, root / "specs"
        if not self.specs.is_dir():
            raise UserError(f"{self.specs}: there is no folder specs/ here. Run the command in the project's root.")
        self._documents: dict[FilePath, Document] = {}

    def relative(self, path: FilePath) -> str:
        """The path as messages show it."""
        return path.relative_to(self.root).as_posix()

    def document(self, path: FilePath) -> Document:
        """A file's document. Raises SpecError."""
        if path not in self._documents:
            try:
                data = path.read_bytes()
            except OSError as error:
                raise SpecError(
                    Where(self.relative(path), 1),
                    "the file",
                    error.strerror or "an unreadable file",
                    "a readable file",
                    "Write it, or take its name out of the list that holds it.",
                ) from None
            self._documents[path] = nodes.parse(data, self.relative(path))
        return self._documents[path]

    def names(self, folder: str) -> list[str]:
        """The stems of the YAML files in a folder of specs/."""
        return sorted(path.stem for path in (self.specs / folder).glob("*.yaml"))

    def pipelines(self) -> list[str]:
        """Folders of specs/ that hold a pipeline.yaml."""
        found = sorted(path.parent.name for path in self.specs.glob("*/pipeline.yaml"))
        return [name for name in found if name not in NOT_PIPELINES]


def check_sources(document: Document) -> None:
    """Raises for figures that the file's own `sources:` do not cover."""
    wrapped = {"sources": document.value.get("sources", [])}
    checked = validate(Document(wrapped, document.places), _Sources)
    errors = list(uncovered(document, checked.sources))
    if errors:
        raise several(errors)


class _Sources(Raw):
    """The list under `sources:` alone: a reading's files are only whole after merging, their sources before."""

    sources: list[RawSource]


def load_pipeline(files: Files, name: str, parents: tuple[str, ...] = ()) -> LoadedPipeline:
    """One pipeline; a reading is laid over the pipeline it extends."""
    own = files.document(files.specs / name / "pipeline.yaml")
    _named(own, "pipeline", name)
    extends = own.value.get("extends")
    if extends is None:
        document, base = own, None
    else:
        if extends not in files.pipelines() or extends in (*parents, name):
            choice = [one for one in files.pipelines() if one not in (*parents, name)]
            raise SpecError(
                own.where(("extends",)),
                "extends",
                units.describe(extends),
                ", ".join(choice),
                meant(str(extends), choice),
            )
        base = load_pipeline(files, extends, (*parents, name))
        document = overlay(base.document, own, OWN_KEYS)
    raw = validate(document, RawPipeline)
    if base is not None and "claims" not in own.value:
        raw = raw.model_copy(update={"claims": []})  # published totals are the published pipeline's
    check_sources(own)
    names = [stage for stage in raw.stages if stage not in raw.drop]
    _strays(files, name, names, document)
    return LoadedPipeline(name, raw, document, {stage: _stage(files, name, stage, base, document) for stage in names})


def _strays(files: Files, pipeline: str, names: list[str], document: Document) -> None:
    """A stage file that no list names would be silently ignored."""
    for stage in files.names(pipeline):
        if stage not in (*names, "pipeline"):
            raise SpecError(
                Where(f"specs/{pipeline}/{stage}.yaml", 1), "stage", f"{stage!r}, which pipeline.yaml does not list",
                ", ".join(names), "Add it to `stages:`, or remove the file.",
            )  # fmt: skip


def _stage(files: Files, pipeline: str, name: str, base: LoadedPipeline | None, listing: Document) -> LoadedStage:
    path = files.specs / pipeline / f"{name}.yaml"
    inherited = base.stages.get(name) if base else None
    if inherited and not path.exists():
        return inherited
    if not path.exists():
        raise SpecError(
            listing.where(("stages",)), "stages", f"{name!r} without a file", "stages that have a file",
            f"Write {files.relative(path)}, or take it out of the list.",
        )  # fmt: skip
    own = files.document(path)
    _named(own, "stage", name)
    document = overlay(inherited.document, own, OWN_KEYS) if inherited else own
    kind = document.value.get("kind")
    if not isinstance(kind, str) or kind not in STAGES:
        raise SpecError(
            document.where(("kind",)), "kind", units.describe(kind), ", ".join(STAGES), meant(str(kind), STAGES)
        )
    raw = validate(document, STAGES[kind])
    check_sources(own)
    return LoadedStage(raw, document)


def _named(document: Document, key: str, name: str) -> None:
    found = document.value.get(key)
    if found != name:
        raise SpecError(
            document.where((key,)), key, units.describe(found), repr(name), "A spec is named as its file is."
        )


@dataclass(frozen=True)
class LoadedData:
    """specs/data."""

    mixtures: RawMixtures
    mixtures_document: Document
    published: RawPublishedCorpora
    corpora: dict[str, RawCorpus]
    tokenizer: RawTokenizer


def load_corpus(files: Files, name: str, declared: bool = True) -> RawCorpus:
    """A local corpus; without `declared`, what a preparation comes out with may still be missing. Raises SpecError."""
    document = files.document(files.specs / "data" / f"{name}.yaml")
    _named(document, "corpus", name)
    return corpus(document, declared)


def load_data(files: Files) -> LoadedData:
    """Mixtures, published corpora, local corpora and the tokenizer."""
    folder = files.specs / "data"
    mixtures, published = files.document(folder / "mixtures.yaml"), files.document(folder / "published.yaml")
    raw, known = validate(mixtures, RawMixtures), validate(published, RawPublishedCorpora)
    check_sources(mixtures)
    corpora = {name: load_corpus(files, name) for name in files.names("data") if name not in NOT_CORPORA}
    for name, entry in known.corpora.items():
        path: nodes.Path = ("corpora", name)
        if name in corpora:
            raise SpecError(
                published.where(path), dotted(path), f"{name!r}, which is also specs/data/{name}.yaml",
                "names that no local corpus has", "Rename your corpus.",
            )  # fmt: skip
        if entry.stand_in not in corpora:
            raise _unknown_corpus(published, (*path, "stand_in"), entry.stand_in, corpora)
    _check_mixtures(mixtures, raw, known, corpora)
    document = files.document(folder / "tokenizer.yaml")
    tokenizer = validate(document, RawTokenizer)
    for index, name in enumerate(tokenizer.corpora):
        if name not in corpora:
            raise _unknown_corpus(document, ("corpora", index), name, corpora)
    return LoadedData(raw, mixtures, known, corpora, tokenizer)


def _unknown_corpus(document: Document, path: nodes.Path, found: str, known: Collection[str]) -> SpecError:
    return SpecError(
        document.where(path), dotted(path), f"the unknown corpus {found!r}", ", ".join(known), meant(found, known)
    )


def _check_mixtures(
    document: Document, raw: RawMixtures, known: RawPublishedCorpora, local: dict[str, RawCorpus]
) -> None:
    """Corpora are published or local ones, in the group of their kind; shares of a group sum to 1."""
    for name, mixture in raw.mixtures.items():
        path: nodes.Path = ("mixtures", name, "sources")
        for index, source in enumerate(mixture.sources):
            here = (*path, index, "corpus")
            if source.corpus not in known.corpora and source.corpus not in local:
                choice = [*known.corpora, *local]
                raise SpecError(
                    document.where(here), dotted(here), f"the unknown corpus {source.corpus!r}",
                    "the corpora of published.yaml and the files of specs/data", meant(source.corpus, choice),
                )  # fmt: skip
            kind = local[source.corpus].kind if source.corpus in local else known.corpora[source.corpus].kind
            group = "multimodal" if kind in ("multimodal", "pairs") else "text"
            if source.group != group:
                here = (*path, index, "group")
                raise SpecError(
                    document.where(here), dotted(here), repr(source.group), group,
                    f"{source.corpus!r} is a corpus of kind {kind}.",
                )  # fmt: skip
        for group in dict.fromkeys(source.group for source in mixture.sources):
            total = sum(source.share for source in mixture.sources if source.group == group)
            if total != 1:
                found = f"shares of the {group} group that sum to {float(total) * 100:.12g}%"
                raise SpecError(document.where(path), dotted(path), found, "exactly 100%", "Correct the shares.")


def load_scale(files: Files, name: str, above: tuple[str, ...] = ()) -> tuple[RawScale, Document]:
    """One scale, laid over the scale it extends."""
    path = files.specs / "scales" / f"{name}.yaml"
    own = files.document(path)
    _named(own, "scale", name)
    check_sources(own)
    document = own
    extends = own.value.get("extends")
    if extends is not None:
        if extends not in files.names("scales") or extends in (*above, name):
            choice = [one for one in files.names("scales") if one not in (*above, name)]
            raise SpecError(
                own.where(("extends",)),
                "extends",
                units.describe(extends),
                ", ".join(choice),
                meant(str(extends), choice),
            )
        document = overlay(load_scale(files, extends, (*above, name))[1], own, OWN_KEYS)
    return validate(document, RawScale), document
