"""What scales name, and scales themselves: a name that is misspelt says nothing, a scale named twice trains twice."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping

from stages.errors import SpecError
from stages.spec.loader import LoadedScale
from stages.spec.nodes import Document, Path
from stages.spec.schema.data import RawScale, RawShrink
from stages.spec.validate import unknown_name

EVERY_STAGE = "*"
COMPARED = sorted(RawScale.model_fields.keys() - {"scale", "extends", "sources"})


def unknown_pipelines(
    raw: RawScale, document: Document, known: Iterable[str], absent: Iterable[str]
) -> Iterator[SpecError]:
    """Entries that are meant for a pipeline which has none at this scale, by their names.

    An entry of a pipeline that was taken out of the project says nothing, and harms nothing.
    """
    choice, missing = list(known), list(absent)
    for name in raw.pipelines or ():
        if name not in choice and difflib.get_close_matches(name, missing, n=1):
            yield unknown_name(document, ("pipelines", name), "pipeline", name, missing)


def same(loaded: LoadedScale, others: Iterable[LoadedScale]) -> Iterator[SpecError]:
    """That a scale changes the figures of specs as another one does: a copy in which nothing was changed yet."""
    for other in others:
        if all(getattr(loaded.raw, key) == getattr(other.raw, key) for key in COMPARED):
            where = other.document.where(("scale",))
            yield loaded.document.error(
                ("seed",) if "seed" in loaded.own else ("scale",), f"all that {other.raw.scale} says too ({where})",
                "scales that differ", "Correct what was to differ, or remove one: both train everything.",
            )  # fmt: skip
            return


def unknown_names(
    shrink: RawShrink, document: Document, pipeline: str, pipelines: Mapping[str, Document]
) -> Iterator[SpecError]:
    """Stages and models of a pipeline's entry that neither it nor a pipeline that extends it has.

    `pipelines` are the files of those that take this entry, each as it is written.
    """
    kept = {name: index for index, name in enumerate(shrink.torch)}
    for key, within, named in (
        ("epochs", "stages", shrink.epochs),
        ("models", "models", shrink.models),
        ("executions", "stages", shrink.executions),
        ("torch", "stages", kept),
    ):
        known = list(dict.fromkeys(name for one in pipelines.values() for name in _names(one.value.get(within))))
        for name in named:
            if name not in known and not (key == "epochs" and name == EVERY_STAGE):
                path: Path = ("pipelines", pipeline, key, kept[name] if key == "torch" else name)
                yield unknown_name(document, path, within.removesuffix("s"), name, known)


def _names(entries: object) -> list[str]:
    return [str(one) for one in entries] if isinstance(entries, (list, dict)) else []
