"""specs/data/bind.yaml: which local corpus is read in the place of a published one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from stages.errors import SpecError
from stages.spec.files import Files
from stages.spec.nodes import Document, Path
from stages.spec.schema.corpora import RawCorpus
from stages.spec.schema.data import RawBindings, RawPublishedCorpora
from stages.spec.validate import hint, several, validate


def bindings(files: Files, published: RawPublishedCorpora, local: Mapping[str, RawCorpus]) -> dict[str, str]:
    """specs/data/bind.yaml, where there is one. Raises InvalidSpecs: all that is wrong with it."""
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
                path, f"the unknown published corpus {name!r}", "those of published.yaml", hint(name, published.corpora)
            )
        elif own not in local:
            repair = f"Write specs/data/{own}.yaml and prepare it. {hint(own, local)}"
            yield document.error(path, f"the unknown corpus {own!r}", "the files of specs/data", repair)
        elif local[own].kind != published.corpora[name].kind:
            wanted = published.corpora[name].kind
            yield document.error(
                path, f"{own!r} of kind {local[own].kind}", f"a corpus of kind {wanted}", "Bind another."
            )
