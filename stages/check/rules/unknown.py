"""Figures that are not known yet: S-13. `stages adopt` writes them where a recipe does not say."""

from __future__ import annotations

from collections.abc import Iterator

from stages.check.context import Context
from stages.check.findings import Finding
from stages.check.registry import static
from stages.printable import first_few
from stages.spec.nodes import Document, dotted
from stages.spec.schema.stages import RawTrain
from stages.spec.sources import figures, marks

SHOWN = 4  # paths of figures in one finding


@static(
    "S-13",
    title="No figure is unknown",
    rule="No figure of a pipeline, of its stages and of the mixtures that they read has a source with `mark: unknown`.",
    why="A figure has to stand where nobody knows it yet, in a recipe that was adopted from another trainer, say. What "
    "is trained with it is somebody else's recipe by name only.",
    threads=(),
)
def nothing_unknown(context: Context) -> Iterator[Finding]:
    """S-13: one finding for a file, at its first such figure; of pipeline.yaml and mixtures it is about all stages."""
    name = context.loaded.name
    yield from _of(context, context.loaded.document, name, "")
    for stage, loaded in context.loaded.stages.items():
        if stage in context.pipeline.own:
            yield from _of(context, loaded.document, f"{name}/{stage}", "")
    raws = [loaded.raw for loaded in context.loaded.stages.values()]
    for mixture in dict.fromkeys(phase.data for raw in raws if isinstance(raw, RawTrain) for phase in raw.phases):
        yield from _of(context, context.data.mixtures_document, name, f"mixtures.{mixture}.")


def _of(context: Context, document: Document, stage: str, below: str) -> Iterator[Finding]:
    sources = document.value.get("sources", ())
    if all(entry["mark"] != "unknown" for entry in sources):  # of nearly every file: no need to go over its figures
        return
    paths = [path for path, mark in marks(document.value) if mark == "unknown" and dotted(path).startswith(below)]
    if not paths:
        return
    words = [dotted(path) for path in paths]
    places = {aliases: path for path, aliases, _ in figures(document.value)}
    yield Finding(
        "S-13", context.pipeline.scale, stage, None,
        observed=f"{first_few(words, SHOWN)}, whose mark is unknown", expected="figures that somebody knows",
        repair="Write the figure, and where it is from in `sources:`.", where=document.where(places[paths[0]]),
        at=tuple(words), found="unknown",
    )  # fmt: skip
