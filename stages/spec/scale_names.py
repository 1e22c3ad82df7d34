"""Names in a scale's file: pipelines, and below each its stages and models. A misspelt one would say nothing at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from stages.errors import SpecError
from stages.spec.nodes import Document, Path
from stages.spec.schema_data import RawScale, RawShrink
from stages.spec.validate import meant

EVERY_STAGE = "*"


def unknown_pipelines(raw: RawScale, document: Document, known: Iterable[str]) -> Iterator[SpecError]:
    """Entries for pipelines that there are not."""
    choice = list(known)
    for name in raw.pipelines or ():
        if name not in choice:
            yield _unknown(document, ("pipelines", name), "pipeline", name, choice)


def unknown_names(
    shrink: RawShrink, document: Document, pipeline: str, pipelines: Mapping[str, Document]
) -> Iterator[SpecError]:
    """Stages and models of a pipeline's entry that neither it nor a pipeline that extends it has.

    `pipelines` are the files of those that take this entry, each as it is written.
    """
    for key, within, named in (("epochs", "stages", shrink.epochs), ("models", "models", shrink.models)):
        known = list(dict.fromkeys(name for one in pipelines.values() for name in _names(one.value.get(within))))
        for name in named:
            if name not in known and not (key == "epochs" and name == EVERY_STAGE):
                path: Path = ("pipelines", pipeline, key, name)
                yield _unknown(document, path, within.removesuffix("s"), name, known)


def _names(entries: object) -> list[str]:
    return [str(one) for one in entries] if isinstance(entries, (list, dict)) else []


def _unknown(document: Document, path: Path, what: str, name: str, known: list[str]) -> SpecError:
    return document.error(path, f"the unknown {what} {name!r}", ", ".join(known), meant(name, known))
