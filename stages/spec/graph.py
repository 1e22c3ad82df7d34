"""Stages and what they start from: parents, ancestors, order, cycles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from stages.errors import SpecError
from stages.spec.loader import LoadedPipeline, LoadedStage
from stages.spec.nodes import Document, Path
from stages.spec.points import ALL, RawPoint, stage_name, starts_from
from stages.spec.schema.stages import RawExport, RawKeep, RawMerge, RawTrain, RawUpcycle
from stages.spec.validate import unknown_name
from stages.spec.variants import sweeps

T = TypeVar("T")


def reached(start: Iterable[T], onward: Callable[[T], Iterable[T]]) -> list[T]:
    """All that one comes to from `start`, which is among it: each once, the nearest first."""
    found = list(dict.fromkeys(start))
    for one in found:  # grows on the way
        found += dict.fromkeys(other for other in onward(one) if other not in found)
    return found


def descends_from(pipeline: LoadedPipeline, name: str) -> set[str]:
    """The stages of the pipeline that a stage descends from; of a point, its trunk."""

    def above(one: str) -> set[str]:
        return starts_from(pipeline.stages[one].raw) & pipeline.stages.keys()

    return set(reached(above(name), above))


def parent_of(stage: LoadedStage, module: str) -> str | None:
    """The stage that a module comes from, None where nothing is declared."""
    raw = stage.raw
    if isinstance(raw, (RawKeep, RawExport)):
        return stage_name(raw.init.from_)
    if isinstance(raw, (RawTrain, RawUpcycle)):
        found = raw.init.from_.get(module, raw.init.from_.get(ALL))
        return None if found is None else stage_name(found)
    return None


def parents(stage: LoadedStage) -> tuple[str, ...]:
    """Names of the parents, in the order in which the spec names them."""
    raw = stage.raw
    if isinstance(raw, (RawKeep, RawExport)):
        return (stage_name(raw.init.from_),)
    if isinstance(raw, (RawTrain, RawUpcycle)):
        return tuple(dict.fromkeys(map(stage_name, raw.init.from_.values())))
    if isinstance(raw, RawMerge):
        return tuple(sorted({stage_name(text) for text in raw.init.from_}))  # their order says nothing
    return ()


def needed(stage: LoadedStage) -> tuple[str, ...]:
    """What is resolved before a stage: its parents, and of a point its trunk."""
    return (*parents(stage), *([stage.raw.trunk] if isinstance(stage.raw, RawPoint) else []))


def topological(pipeline: LoadedPipeline) -> list[str]:
    """Stage names, parents first, otherwise in the pipeline's order.

    Raises SpecError for a missing parent or a cycle.
    """
    wanted = {name: needed(stage) for name, stage in pipeline.stages.items()}
    for name, stage in pipeline.stages.items():
        for parent in wanted[name]:
            if parent not in wanted:
                raise _missing(pipeline, stage, parent)
    order: list[str] = []
    left = dict(wanted)
    while left:
        ready = next((name for name, above in left.items() if not any(one in left for one in above)), None)
        if ready is None:
            raise _cycle(pipeline, left)
        order.append(ready)
        del left[ready]
    return order


def unknown_stage(pipeline: LoadedPipeline, document: Document, path: Path, name: str) -> SpecError:
    """A name that no stage of the pipeline has; that of a sweep is its file's, and each of its values has a stage."""
    values = sweeps(stage.raw for stage in pipeline.stages.values()).get(name)
    if values is None:
        return unknown_name(document, path, "stage", name, pipeline.stages)
    return document.error(path, f"{name!r}, a sweep", ", ".join(values), "Name the stage of one of its values.")


def _missing(pipeline: LoadedPipeline, stage: LoadedStage, parent: str) -> SpecError:
    path: Path = ("init", "from")
    if isinstance(stage.raw, (RawTrain, RawUpcycle)):
        module = next(module for module, above in stage.raw.init.from_.items() if stage_name(above) == parent)
        path = path if module == ALL else (*path, module)
    if isinstance(stage.raw, RawMerge):
        path = (*path, next(number for number, text in enumerate(stage.raw.init.from_) if stage_name(text) == parent))
    return unknown_stage(pipeline, stage.document, path, parent)


def _cycle(pipeline: LoadedPipeline, rest: Mapping[str, tuple[str, ...]]) -> SpecError:
    """Walks up from any unfinished stage until one comes again."""
    trail = [next(iter(rest))]
    while (above := next(parent for parent in rest[trail[-1]] if parent in rest)) not in trail:
        trail.append(above)
    circle = [*trail[trail.index(above) :], above]
    path: Path = ("init", "from")
    documents = [pipeline.stages[name].document for name in circle[:-1]]
    places = ", ".join(str(one.where(path)) for one in documents)
    return documents[0].error(
        path, "a cycle: " + " <- ".join(circle), "stages that start from earlier ones",
        f"Take one of these edges out: {places}.",
    )  # fmt: skip
