"""Stages and what they start from: parents, order, cycles."""

from __future__ import annotations

from collections.abc import Mapping

from stages.errors import SpecError
from stages.spec.loader import LoadedPipeline, LoadedStage
from stages.spec.nodes import Path
from stages.spec.schema import RawExport, RawKeep, RawTrain, RawUpcycle
from stages.spec.validate import meant

ALL = "*"


def parent_of(stage: LoadedStage, module: str) -> str | None:
    """The stage that a module comes from, None where nothing is said."""
    raw = stage.raw
    if isinstance(raw, (RawKeep, RawExport)):
        return raw.init.from_
    if isinstance(raw, (RawTrain, RawUpcycle)):
        return raw.init.from_.get(module, raw.init.from_.get(ALL))
    return None


def parents(stage: LoadedStage) -> tuple[str, ...]:
    """Names of the parents, in the order in which the spec names them."""
    raw = stage.raw
    if isinstance(raw, (RawKeep, RawExport)):
        return (raw.init.from_,)
    if isinstance(raw, (RawTrain, RawUpcycle)):
        return tuple(dict.fromkeys(raw.init.from_.values()))
    return ()


def topological(pipeline: LoadedPipeline) -> list[str]:
    """Stage names, parents first, otherwise in the pipeline's order.

    Raises SpecError for a missing parent or a cycle.
    """
    wanted = {name: parents(stage) for name, stage in pipeline.stages.items()}
    for name, stage in pipeline.stages.items():
        for parent in wanted[name]:
            if parent not in wanted:
                raise _missing(stage, parent, wanted)
    order: list[str] = []
    while len(order) < len(wanted):
        ready = next((name for name in wanted if name not in order and set(wanted[name]) <= set(order)), None)
        if ready is None:
            raise _cycle(pipeline, {name: above for name, above in wanted.items() if name not in order})
        order.append(ready)
    return order


def _missing(stage: LoadedStage, parent: str, names: Mapping[str, object]) -> SpecError:
    path: Path = ("init", "from")
    if isinstance(stage.raw, (RawTrain, RawUpcycle)):
        module = next(module for module, above in stage.raw.init.from_.items() if above == parent)
        path = path if module == ALL else (*path, module)
    return stage.document.error(path, f"the unknown stage {parent!r}", ", ".join(names), meant(parent, names))


def _cycle(pipeline: LoadedPipeline, rest: Mapping[str, tuple[str, ...]]) -> SpecError:
    """Walks up from any unfinished stage until one comes again."""
    trail = [next(iter(rest))]
    while (above := next(parent for parent in rest[trail[-1]] if parent in rest)) not in trail:
        trail.append(above)
    circle = [*trail[trail.index(above) :], above]
    stage = pipeline.stages[circle[0]]
    return stage.document.error(
        ("init", "from"),
        "a cycle: " + " <- ".join(circle),
        "stages that start from earlier ones",
        "Take one of these edges out.",
    )
